//! # State of the programs

use std::os::fd::AsFd as _;

use super::{Programs, attached::Attached};
use crate::{
    kernel::bpf_syscall,
    probes::{FALLBACK, PROBES, Probe, ProbeKind, WANTS_LOCK},
};

/// Hits that the kernel skipped.
///
/// A kprobe's program is skipped while bpf(2) accesses a map on its CPU, or another program runs
/// there. A raw tracepoint's is skipped if another task's run of it was preempted (Linux 7 runs
/// tracepoints preemptibly): then guests' results and extended requests are miscounted, but never
/// the number of requests.
pub struct Missed {
    pub probes: u64,
    pub tracepoints: u64,
}

pub struct ProgramState {
    pub name: &'static str,
    pub runs: u64,
    pub run_seconds: f64,
}

impl Programs {
    pub fn is_attached(&self, name: &str) -> bool {
        self.attached.contains_key(name)
    }

    /// Why a probe is not attached.
    pub fn failure(&self, name: &str) -> Option<&str> {
        self.failures.get(name).map(|failure| failure.reason.as_str())
    }

    /// Why requests cannot be counted.
    pub fn not_ready(&self) -> Option<String> {
        let mut missing = PROBES
            .iter()
            .filter(|probe| probe.loses.is_none() && !self.attached.contains_key(probe.name));
        let probe = missing.next()?;
        let reason = match self.failures.get(probe.name) {
            Some(failure) => failure.reason.as_str(),
            None => "not attached",
        };
        Some(format!("{}: {reason}", probe.name))
    }

    /// Every probe that is needed, and whether it is attached.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let needed = |probe: &&Probe| match probe.kind {
            ProbeKind::Lsm => self.lsm,
            _ => probe.name != FALLBACK || !self.attached.contains_key(WANTS_LOCK),
        };
        let state = |probe: &Probe| (probe.name, self.attached.contains_key(probe.name));
        PROBES.iter().filter(needed).map(state)
    }

    /// Hits that the kernel skipped: of kprobes, which count, and of tracepoints.
    pub fn missed(&self) -> Missed {
        let mut missed = Missed { probes: self.missed_before, tracepoints: 0 };
        for attached in self.attached.values() {
            missed.probes += attached.missed();
        }
        for probe in &PROBES {
            let skipped = self.attached.get(probe.name).map_or(0, Attached::skipped);
            match probe.kind {
                ProbeKind::Kprobe => missed.probes += skipped,
                ProbeKind::RawTracepoint => missed.tracepoints += skipped,
                // Never skipped: the kernel has no recursion check there.
                ProbeKind::Lsm => {}
            }
        }
        missed
    }

    fn counters(&self, probe: &Probe) -> Option<bpf_syscall::ProgramCounters> {
        bpf_syscall::program_counters(self.attached.get(probe.name)?.program.as_fd()).ok()
    }

    /// The kernel's statistics of our programs; zeros while these are off.
    pub fn states(&self) -> Vec<ProgramState> {
        let mut states = Vec::new();
        for probe in &PROBES {
            if let Some(counters) = self.counters(probe) {
                states.push(ProgramState {
                    name: probe.program,
                    runs: counters.runs,
                    run_seconds: counters.run_ns as f64 / 1e9,
                });
            }
        }
        states
    }
}
