//! # CPU time beside busy vCPUs
//!
//! New VMs wait until the agent has found out whose they are, and get the default policy if it does not
//! (`policy::is_unresolved`). So vCPUs that use every CPU shall not keep it from one for seconds.

use std::{fs, io};

use log::debug;

/// As a service that others wait for; real-time priority would keep vCPUs from a CPU instead.
const NICE: i32 = -10;

/// The nice value of all processes of this session together, beside those of others: where sessions
/// share CPUs (`sched_autogroup_enabled`), a process' own matters only within its session (sched(7)).
const SESSION: &str = "/proc/self/autogroup";

/// For this thread and those that it starts from now on. Without CAP_SYS_NICE nothing changes, which
/// doctor reports. In a cgroup with CPU weights, its weight decides.
pub fn raise() {
    if let Err(error) = raise_own().and_then(|()| raise_session()) {
        debug!("the agent has no more CPU time than others: {error}");
    }
}

fn raise_own() -> io::Result<()> {
    // SAFETY: plain integers.
    let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // SAFETY: plain integers.
    if before > NICE && unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Only as a service: a user's session is not the agent's.
fn raise_session() -> io::Result<()> {
    // SAFETY: plain integers.
    if unsafe { libc::getsid(0) != libc::getpid() } {
        return Ok(());
    }
    match fs::write(SESSION, NICE.to_string()) {
        // A kernel without sessions' own scheduling.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
