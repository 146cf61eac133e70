//! # Recent rates
//!
//! Totals count since the start; these are the rates and latencies of the last seconds. One sample
//! a second, kept for [`WINDOW`].

use std::{
    array,
    collections::{BTreeMap, VecDeque},
};

use guestreq_common::{
    histogram::{self, SLOTS, Slots},
    host::Host,
    message::MESSAGE_TYPES,
    policy::{DECISIONS, Decision, Mode},
    request::STAGES,
    vm::{Vm, VmRef},
};

/// In seconds.
const WINDOW: usize = 10;

/// Totals at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub at_ns: u64,
    pub busy_ns: u64,
    pub queue_ns: u64,
    /// For how long launches held requests in the gate's order, if there is one.
    pub held_ns: Option<u64>,
    /// Requests that the gate's order let through without a slot, if there is one.
    pub overdue: Option<u64>,
    /// Of all guest requests.
    pub stages: [Slots; STAGES],
    pub vms: BTreeMap<VmRef, Totals>,
}

/// A VM's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub psp_ns: u64,
    /// Requests by message.
    pub requests: [u64; MESSAGE_TYPES],
    /// Decisions, whatever the mode.
    pub decisions: [u64; DECISIONS],
    pub duration: Slots,
}

impl Totals {
    pub fn of(vm: &Vm) -> Totals {
        let mut decisions = [0; DECISIONS];
        for decision in Decision::ALL {
            let of_kinds = vm
                .decisions
                .iter()
                .map(|kind| kind.get(Mode::Audit, decision) + kind.get(Mode::Enforce, decision));
            decisions[decision as usize] = of_kinds.sum();
        }
        Totals {
            psp_ns: vm.psp_ns.iter().sum(),
            requests: array::from_fn(|kind| vm.requests[kind].total()),
            decisions,
            duration: vm.duration,
        }
    }
}

/// A host's stages, summed over all messages.
pub fn stages(host: &Host) -> [Slots; STAGES] {
    let sum = |stage: usize, slot: usize| {
        host.totals.messages.iter().map(|message| message.stage[stage][slot]).sum()
    };
    array::from_fn(|stage| array::from_fn(|slot| sum(stage, slot)))
}

#[derive(Default)]
pub struct Window {
    samples: VecDeque<Sample>,
}

/// Rates within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recent {
    pub requests_per_second: f64,
    /// PSP time per time, 0 to 1.
    pub psp_share: f64,
    pub messages_per_second: [f64; MESSAGE_TYPES],
    pub decisions_per_second: [f64; DECISIONS],
    /// Of whole requests.
    pub quantiles: Quantiles,
}

/// In nanoseconds; `None` without requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    pub p50: Option<u64>,
    pub p99: Option<u64>,
}

impl Window {
    pub fn push(&mut self, sample: Sample) {
        if self.samples.len() > WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Seconds between the oldest sample and now.
    pub fn seconds(&self, now: &Sample) -> f64 {
        self.samples.front().map_or(0.0, |old| now.at_ns.saturating_sub(old.at_ns) as f64 / 1e9)
    }

    /// The PSP's utilisation (0 to 1), and the mean number of waiting requests
    /// (Little's law: time waited per time).
    pub fn host(&self, now: &Sample) -> (f64, f64) {
        let Some(old) = self.samples.front() else { return (0.0, 0.0) };
        let elapsed = elapsed(old, now);
        let busy = now.busy_ns.saturating_sub(old.busy_ns) as f64 / elapsed;
        let waiting = now.queue_ns.saturating_sub(old.queue_ns) as f64 / elapsed;
        (busy, waiting)
    }

    /// The share of time in which launches held requests, 0 to 1. A gate that was loaded within the
    /// window counts from zero.
    pub fn held(&self, now: &Sample) -> f64 {
        let Some(old) = self.samples.front() else { return 0.0 };
        let (Some(before), Some(after)) = (old.held_ns, now.held_ns) else { return 0.0 };
        after.saturating_sub(before) as f64 / elapsed(old, now)
    }

    /// Requests that became overdue. A count that fell is that of another gate, which began at 0.
    pub fn overdue(&self, now: &Sample) -> u64 {
        let before = self.samples.front().and_then(|old| old.overdue);
        let (Some(before), Some(after)) = (before, now.overdue) else { return 0 };
        after.checked_sub(before).unwrap_or(after)
    }

    /// By stage, of all guest requests.
    pub fn stages(&self, now: &Sample) -> [Quantiles; STAGES] {
        let Some(old) = self.samples.front() else { return Default::default() };
        array::from_fn(|stage| Quantiles::between(&old.stages[stage], &now.stages[stage]))
    }

    pub fn vm(&self, now: &Sample, key: VmRef) -> Recent {
        let (Some(old), Some(vm)) = (self.samples.front(), now.vms.get(&key)) else {
            return Recent::default();
        };
        let elapsed = elapsed(old, now);
        // A VM that is new within the window began at zero.
        let old = old.vms.get(&key).copied().unwrap_or_default();
        let rate = |now: u64, old: u64| now.saturating_sub(old) as f64 * 1e9 / elapsed;
        let requests: [f64; MESSAGE_TYPES] =
            array::from_fn(|kind| rate(vm.requests[kind], old.requests[kind]));
        Recent {
            requests_per_second: requests.iter().sum(),
            psp_share: vm.psp_ns.saturating_sub(old.psp_ns) as f64 / elapsed,
            messages_per_second: requests,
            decisions_per_second: array::from_fn(|decision| {
                rate(vm.decisions[decision], old.decisions[decision])
            }),
            quantiles: Quantiles::between(&old.duration, &vm.duration),
        }
    }
}

/// In nanoseconds, and never 0.
fn elapsed(old: &Sample, now: &Sample) -> f64 {
    now.at_ns.saturating_sub(old.at_ns).max(1) as f64
}

impl Quantiles {
    /// Of the difference between two states of a histogram.
    fn between(old: &Slots, now: &Slots) -> Quantiles {
        let added: Slots = array::from_fn::<u64, SLOTS, _>(|i| now[i].saturating_sub(old[i]));
        let of = |quantile| histogram::quantile(&added, quantile);
        Quantiles { p50: of(0.5), p99: of(0.99) }
    }
}

#[cfg(test)]
mod tests;
