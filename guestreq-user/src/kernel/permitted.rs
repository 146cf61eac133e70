//! # Whether the required system calls are permitted
//!
//! They are tried, and the error shows what refuses them: the kernel itself never fails
//! perf_event_open(2) with EPERM, seccomp profiles do, or with ENOSYS.

use std::io;

use super::CAP_SYS_ADMIN;
use crate::host::system::{Missing, System};

const PROFILE: &str = "the container's seccomp profile has to allow it: deploy/kubernetes/localhost \
                       has one that does";

/// Whether this process has a seccomp profile; `None` if the kernel does not say.
pub fn is_filtered(system: &System) -> Option<bool> {
    let status = system.read("/proc/self/status").ok()?;
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    Some(mode.trim() != "0")
}

/// Explains the result of a harmless bpf(2) call.
pub fn bpf(system: &System, answer: io::Result<()>) -> Result<(), Missing> {
    let Err(error) = answer else { return Ok(()) };
    let filtered = is_filtered(system) == Some(true);
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) if filtered => Missing::new(
            "bpf(2) is missing: a seccomp profile hides it, or this kernel has none",
            format!("{PROFILE}; a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS"),
        ),
        Some(libc::ENOSYS) => Missing::new(
            "this kernel has no BPF",
            "it needs CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS",
        ),
        Some(libc::EPERM) if filtered => Missing::new(
            "a seccomp profile refuses bpf(2) though the capabilities are there",
            PROFILE,
        ),
        Some(libc::EPERM) => Missing::new(
            "bpf(2) is refused though the capabilities are there",
            "check the seccomp profile and kernel.unprivileged_bpf_disabled",
        ),
        _ => Missing::new("bpf(2) does not work", error.to_string()),
    })
}

/// Explains the result of perf_event_open(2), which attaching kprobes needs. Debian and Ubuntu have
/// levels of perf_event_paranoid above 2, at which most of their kernels require CAP_SYS_ADMIN
/// instead of CAP_PERFMON.
pub fn perf_events(system: &System, mask: u64, answer: io::Result<()>) -> Result<(), Missing> {
    let Err(error) = answer else { return Ok(()) };
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) if is_filtered(system) != Some(true) => {
            Missing::new("this kernel has no perf events", "a kernel with CONFIG_PERF_EVENTS")
        }
        Some(libc::EPERM | libc::ENOSYS) => Missing::new(
            "a seccomp profile refuses perf_event_open(2) though the capabilities are there, as \
             CRI-O's default does",
            PROFILE,
        ),
        Some(libc::EACCES) => paranoid(system, mask).unwrap_or_else(|| {
            Missing::new(
                "perf_event_open(2) is denied though the capabilities are there",
                "an LSM denies it: under SELinux the container's type has to be spc_t",
            )
        }),
        _ => Missing::new("perf_event_open(2) does not work", error.to_string()),
    })
}

/// What the level probably means, if perf_event_open(2) cannot be tried.
pub fn paranoid(system: &System, mask: u64) -> Option<Missing> {
    let level = system.read("/proc/sys/kernel/perf_event_paranoid").ok()?;
    let above = level.parse::<i32>().is_ok_and(|level| level > 2) && mask & CAP_SYS_ADMIN == 0;
    above.then(|| {
        Missing::new(
            format!(
                "kernel.perf_event_paranoid is {level}, at which Debian's and Ubuntu's kernels \
                 require CAP_SYS_ADMIN for kprobes"
            ),
            "`sysctl kernel.perf_event_paranoid=2` on the host, or grant CAP_SYS_ADMIN",
        )
    })
}
