//! # What is attached, and what is not and why

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use aya::programs::{ProgramError, links::FdLink};

use crate::{
    agent::{bpf, kernel, perf},
    system,
};

pub struct Attached {
    pub link: FdLink,
    /// Where the link outlives us.
    pub pin: Option<PathBuf>,
    pub id: u32,
    /// The program that is attached: an earlier agent's, perhaps.
    pub program: OwnedFd,
    pub module: Option<u64>,
}

impl Attached {
    /// Hits that never reached the program. A pin leads to the link without CAP_SYS_ADMIN.
    pub fn missed(&self) -> io::Result<u64> {
        let fd = match &self.pin {
            Some(pin) => bpf::get_pinned(pin)?,
            None => bpf::get_link(self.id)?,
        };
        bpf::link_missed(fd.as_fd())
    }
}

/// Why a probe is not attached; it is tried again once its module has changed, or after a while.
pub struct Trouble {
    pub reason: String,
    pub module: Option<u64>,
    pub since: Instant,
}

impl Trouble {
    const RETRY: Duration = Duration::from_secs(60);

    pub fn is_worth_a_try(&self, module: Option<u64>) -> bool {
        self.module != module || self.since.elapsed() >= Trouble::RETRY
    }
}

/// Says of a kprobe that is not permitted what stands in its way, if that is known.
pub fn explained(error: ProgramError) -> anyhow::Error {
    let system = system::host();
    let mask = kernel::effective_capabilities(system).unwrap_or(u64::MAX);
    let ProgramError::SyscallError(call) = &error else { return error.into() };
    let refused =
        matches!(call.io_error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS));
    match kernel::perf_events(system, mask, perf::probe()) {
        Err(missing) if refused => missing.into(),
        _ => error.into(),
    }
}
