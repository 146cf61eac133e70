//! # The signal that kicks a VMM's vCPUs
//!
//! Each VMM has its own signal that takes vCPU threads out of KVM_RUN. A signal without a handler
//! would kill the VMM, so its handlers are checked first.

use super::read_some;
use crate::host::system::System;

/// QEMU's: SIG_IPI is SIGUSR1.
const SIGUSR1: u64 = 10;
/// SIGRTMIN of glibc and of musl: cloud-hypervisor and Firecracker are linked with either.
const SIGRTMIN: [u64; 2] = [34, 35];

/// The signal that kicks this VMM's vCPUs; 0 if it does not handle it (yet), `None` if this VMM's
/// signal is unknown.
pub fn kick_signal(system: &System, pid: u32, vmm: &str) -> Option<u64> {
    let status = read_some(&system.process(pid).join("status")).unwrap_or_default();
    // The process' name in it may have any bytes.
    of_status(&String::from_utf8_lossy(&status), vmm)
}

pub fn of_status(status: &str, vmm: &str) -> Option<u64> {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let candidates: &[u64] = match vmm {
        "qemu" => &[SIGUSR1],
        "cloud-hypervisor" | "firecracker" => &SIGRTMIN,
        _ => return None,
    };
    let handled = |signal: &u64| caught >> (signal - 1) & 1 == 1;
    Some(candidates.iter().copied().find(handled).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_mask(mask: u64, vmm: &str) -> Option<u64> {
        of_status(&format!("Name:\tx\nSigIgn:\tffffffffffffffff\nSigCgt:\t{mask:016x}\n"), vmm)
    }

    #[test]
    fn a_handled_signal_is_used() {
        assert_eq!(of_mask(1 << 9, "qemu"), Some(SIGUSR1));
        assert_eq!(of_mask(1 << 33, "cloud-hypervisor"), Some(34));
        assert_eq!(of_mask(1 << 34, "firecracker"), Some(35));
        assert_eq!(of_mask(3 << 33, "firecracker"), Some(34));
    }

    #[test]
    fn a_signal_that_would_kill_is_not_used() {
        assert_eq!(of_mask(!(1 << 9), "qemu"), Some(0));
        assert_eq!(of_mask(!(3 << 33), "cloud-hypervisor"), Some(0));
        assert_eq!(of_mask(u64::MAX, "some-vmm"), None, "its signal is unknown");
        assert_eq!(of_status("", "qemu"), Some(0));
        assert_eq!(of_status("SigCgt:\tnonsense\n", "qemu"), Some(0));
    }

    #[test]
    fn a_process_that_is_gone_gets_none() {
        assert_eq!(kick_signal(&System::real(), u32::MAX, "qemu"), Some(0));
    }
}
