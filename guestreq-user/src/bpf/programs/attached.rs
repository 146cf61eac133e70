//! # Attached probes, and why others are not

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use aya::programs::{ProgramError, links::FdLink};

use crate::{
    bpf::perf,
    host::system,
    kernel::{self, bpf_syscall},
};

pub struct Attached {
    pub link: FdLink,
    /// Where the link is pinned.
    pub pin: Option<PathBuf>,
    pub id: u32,
    /// The attached program, maybe an earlier agent's.
    pub program: OwnedFd,
    pub module: Option<u64>,
    /// As last read by [`Attached::missed`] and [`Attached::skipped`].
    pub(super) missed: MonotonicCount,
    pub(super) skipped: MonotonicCount,
}

/// A counter of the kernel. If it cannot be read, it keeps its last value, so that it never falls.
#[derive(Default)]
pub(super) struct MonotonicCount(Cell<u64>);

impl MonotonicCount {
    /// The count, or the last one if this read failed.
    fn update<E>(&self, read: Result<u64, E>) -> u64 {
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
        let [missed, skipped] = Default::default();
        Attached { link, pin, id, program, module, missed, skipped }
    }

    /// Hits that never reached the program.
    pub fn missed(&self) -> u64 {
        self.missed.update(self.read_missed())
    }

    /// Hits at which the kernel skipped the program.
    pub fn skipped(&self) -> u64 {
        let counters = bpf_syscall::program_counters(self.program.as_fd());
        self.skipped.update(counters.map(|counters| counters.missed))
    }

    /// Reads the missed hits. With a pin that needs no CAP_SYS_ADMIN.
    pub fn read_missed(&self) -> io::Result<u64> {
        let fd = match &self.pin {
            Some(pin) => bpf_syscall::get_pinned(pin)?,
            None => bpf_syscall::get_link(self.id)?,
        };
        bpf_syscall::link_missed(fd.as_fd())
    }
}

/// Why a probe is not attached. Retried when its module changes, or after a minute.
pub struct Failure {
    pub reason: String,
    pub module: Option<u64>,
    pub since: Instant,
}

impl Failure {
    const RETRY: Duration = Duration::from_secs(60);

    pub fn is_due(&self, module: Option<u64>) -> bool {
        self.module != module || self.since.elapsed() >= Failure::RETRY
    }
}

/// Explains why a kprobe is not permitted, if that is known.
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

/// The kernel's name for a function that it does not have under its own.
pub fn renamed(function: &str) -> Option<String> {
    let of_function = |name: &str| name.starts_with(function);
    let symbols = kernel::Symbols::read_some(system::host(), of_function).ok()?;
    if symbols.has(function) { None } else { symbols.renamed(function).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_counter_keeps_its_value() {
        let count = MonotonicCount::default();
        let failed = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(count.update(failed()), 0);
        assert_eq!(count.update::<io::Error>(Ok(7)), 7);
        assert_eq!(count.update(failed()), 7);
        assert_eq!(count.update::<io::Error>(Ok(9)), 9);
    }
}
