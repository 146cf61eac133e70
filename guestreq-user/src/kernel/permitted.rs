//! # Whether the system calls that it takes are allowed
//!
//! What is refused was tried, and says by its error who refuses it: the kernel itself never answers
//! EPERM to perf_event_open(2), seccomp profiles do, or ENOSYS.

use std::io;

use super::CAP_SYS_ADMIN;
use crate::host::system::{Missing, System};

const PROFILE: &str = "the container's seccomp profile has to allow it: deploy/kubernetes/localhost \
                       has one that does";

/// Whether a seccomp profile stands before this process' system calls; `None`, where the kernel does
/// not say.
pub fn is_filtered(system: &System) -> Option<bool> {
    let status = system.read("/proc/self/status").ok()?;
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    Some(mode.trim() != "0")
}

/// What bpf(2) answered when it was asked for something harmless.
pub fn bpf(system: &System, answer: io::Result<()>) -> Result<(), Missing> {
    let Err(error) = answer else { return Ok(()) };
    let filtered = is_filtered(system) == Some(true);
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) if filtered => Missing::new(
            "bpf(2) is not there: a seccomp profile hides it, or this kernel has none",
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
            "a seccomp profile or kernel.unprivileged_bpf_disabled stands in the way",
        ),
        _ => Missing::new("bpf(2) does not work", error.to_string()),
    })
}

/// What perf_event_open(2) answered, and with it whether kprobes may be attached. Debian and Ubuntu
/// have levels of perf_event_paranoid above 2, at which most of their kernels ask for CAP_SYS_ADMIN,
/// and not for CAP_PERFMON as others do.
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
                "an LSM stands in the way: under SELinux the container's type has to be spc_t",
            )
        }),
        _ => Missing::new("perf_event_open(2) does not work", error.to_string()),
    })
}

/// What the level is likely to mean where it cannot be tried.
pub fn paranoid(system: &System, mask: u64) -> Option<Missing> {
    let level = system.read("/proc/sys/kernel/perf_event_paranoid").ok()?;
    let above = level.parse::<i32>().is_ok_and(|level| level > 2) && mask & CAP_SYS_ADMIN == 0;
    above.then(|| {
        Missing::new(
            format!(
                "kernel.perf_event_paranoid is {level}, at which Debian's and Ubuntu's kernels \
                 keep kprobes from who has no CAP_SYS_ADMIN"
            ),
            "`sysctl kernel.perf_event_paranoid=2` on the host, or grant CAP_SYS_ADMIN",
        )
    })
}
