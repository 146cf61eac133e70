//! # What is attached, and what is not and why

use std::{
    cell::Cell,
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
    /// The most hits that were missed so far; see [`Attached::missed`].
    pub most_missed: AtMost,
    /// The same of the program's.
    pub most_skipped: AtMost,
}

/// A count of the kernel's that only grows, as of when it could last be read: a read that fails must
/// not look like a count that fell.
#[derive(Default)]
pub struct AtMost(Cell<u64>);

impl AtMost {
    pub fn take_in<E>(&self, read: Result<u64, E>) -> u64 {
        if let Ok(count) = read {
            self.0.set(self.0.get().max(count));
        }
        self.0.get()
    }
}

impl Attached {
    pub fn new(
        link: FdLink,
        pin: Option<PathBuf>,
        id: u32,
        program: OwnedFd,
        module: Option<u64>,
    ) -> Attached {
        let (most_missed, most_skipped) = Default::default();
        Attached { link, pin, id, program, module, most_missed, most_skipped }
    }

    /// Hits that never reached the program.
    pub fn missed(&self) -> u64 {
        self.most_missed.take_in(self.read_missed())
    }

    /// Hits at which the kernel skipped the program.
    pub fn skipped(&self) -> u64 {
        let counters = bpf::program_counters(self.program.as_fd());
        self.most_skipped.take_in(counters.map(|counters| counters.missed))
    }

    /// The hits that never reached the program, anew. A pin leads to the link without CAP_SYS_ADMIN.
    pub fn read_missed(&self) -> io::Result<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_be_read_stays_as_it_was() {
        let count = AtMost::default();
        let failed = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(count.take_in(failed()), 0);
        assert_eq!(count.take_in::<io::Error>(Ok(7)), 7);
        assert_eq!(count.take_in(failed()), 7);
        assert_eq!(count.take_in::<io::Error>(Ok(9)), 9);
    }
}
