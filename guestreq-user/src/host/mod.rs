//! # Which VM a process is
//!
//! From the VMM's command line alone: what QEMU, cloud-hypervisor and Firecracker
//! were started with. Anyone can start a process with any arguments, so a name
//! is a label, never a proof.

mod cmdline;
mod signals;

use std::fs;

pub use signals::kick_signal;

/// A VM's name, and what else its VMM says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The VM's own name, as it is, or the process' name where the command line has none.
    pub name: String,
    /// Whether the name is the VM's own.
    pub named: bool,
    pub uuid: String,
    /// qemu, cloud-hypervisor, firecracker, or the process' name.
    pub vmm: String,
    /// The pod that it runs in; not looked up yet.
    pub namespace: String,
    pub pod_uid: String,
}

/// Longer names are cut.
const MAX_NAME: usize = 4096;
/// The same where they become labels.
const MAX_LABEL: usize = 128;

/// Looks at a process; `None` once it is gone.
pub fn identify(pid: u32) -> Option<Identity> {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let comm = clean(String::from_utf8_lossy(&comm).trim_end());
    let arguments: Vec<String> = cmdline
        .split(|&byte| byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    Some(cmdline::parse(&arguments, &comm))
}

/// The start of a process in the kernel's ticks since boot (field 22 of /proc/PID/stat).
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, spaces and parentheses included.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// When a process began, on the programs' clock (CLOCK_MONOTONIC), in ns; at most a tick early.
pub fn began_ns(ticks: u64) -> u64 {
    // SAFETY: no memory is passed.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    let since_boot = ticks.saturating_mul(1_000_000_000 / per_second.max(1));
    // Ticks go on while the host sleeps, that clock does not.
    let slept = clock_ns(libc::CLOCK_BOOTTIME).saturating_sub(clock_ns(libc::CLOCK_MONOTONIC));
    since_boot.saturating_sub(slept)
}

/// Now, in ns.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call, which cannot fail for clocks that every Linux has.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What may stand in a label: no control characters, no more than [`MAX_LABEL`] characters.
pub fn clean(name: &str) -> String {
    let keep = |c: char| if c.is_control() { '_' } else { c };
    name.chars().take(MAX_LABEL).map(keep).collect()
}

/// A VM's name as policy knows it.
fn exact(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_name_and_a_start() {
        let identity = identify(std::process::id()).unwrap();
        assert!(!identity.named);
        assert!(!identity.name.is_empty());
        let ticks = start_ticks(std::process::id()).unwrap();
        let (began, now) = (began_ns(ticks), clock_ns(libc::CLOCK_MONOTONIC));
        assert!(began <= now && now - began < 600_000_000_000, "{began} {now}");
    }

    #[test]
    fn a_process_that_is_gone_has_neither() {
        assert_eq!(identify(u32::MAX), None);
        assert_eq!(start_ticks(u32::MAX), None);
    }

    #[test]
    fn names_are_fit_for_labels() {
        assert_eq!(clean("web-1"), "web-1");
        assert_eq!(clean("a\nb\x1b[31mc"), "a_b_[31mc");
        assert_eq!(clean("\u{fc}ber \"quoted\""), "\u{fc}ber \"quoted\"");
        assert_eq!(clean(&"x".repeat(4096)).len(), MAX_LABEL);
    }
}
