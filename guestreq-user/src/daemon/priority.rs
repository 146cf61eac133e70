//! # CPU time beside busy vCPUs
//!
//! New VMs wait until the agent has found out whose they are, and get the default policy if it does not
//! (`policy::is_unresolved`). So vCPUs that use every CPU shall not keep it from one for seconds.

use std::io;

use log::debug;

/// As a service that others wait for; real-time priority would keep vCPUs from a CPU instead.
const NICE: i32 = -10;

/// For this thread and those that it starts from now on. Without CAP_SYS_NICE nothing changes, which
/// doctor reports.
pub fn raise() {
    // SAFETY: plain integers.
    let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if before <= NICE {
        return;
    }
    // SAFETY: plain integers.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        debug!("nice stays {before}: {}", io::Error::last_os_error());
    }
}
