//! # What is known of one VM
//!
//! A VM is a VMM process. Its record is written under `sev_cmd_mutex`, which
//! serialises the PSP's answers, so plain additions are exact; the two fields
//! that other hooks write, too, say so and are written atomically.

use crate::{
    command,
    histogram::{self, SLOTS, Slots},
    message::{self, Summary},
    outcome,
    policy::{DECISIONS, Decision, Mode, Policy},
    request::{Numbered, Running, STAGES, Stages},
    sequence::{ANOMALIES, Anomaly, Counters, Guest},
};

/// Counts by outcome.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Results([u64; outcome::OUTCOMES]);

impl Results {
    pub const NONE: Results = Results([0; outcome::OUTCOMES]);

    /// An outcome's cell. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn cell(&mut self, outcome: u8) -> &mut u64 {
        &mut self.0[outcome as usize & (outcome::OUTCOMES - 1)]
    }

    pub fn get(&self, outcome: u8) -> u64 {
        self.0.get(usize::from(outcome)).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Counts of decisions: in audit, then in enforce.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Decisions([u64; 2 * DECISIONS]);

impl Decisions {
    /// Where a decision is counted.
    #[inline(always)]
    pub fn cell(&mut self, mode: Mode, decision: Decision) -> &mut u64 {
        let half = if mode as u8 == Mode::Enforce as u8 { DECISIONS } else { 0 };
        &mut self.0[(half + decision as usize) & (2 * DECISIONS - 1)]
    }

    pub fn get(&self, mode: Mode, decision: Decision) -> u64 {
        let half = if mode == Mode::Enforce { DECISIONS } else { 0 };
        self.0[half + decision as usize]
    }
}

/// A VM's life.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The slot is free.
    Free = 0,
    Running = 1,
    /// The process is gone; the slot is kept for a while, so that a scrape sees its end.
    Exited = 2,
    /// Cleared, and on its way to the free slots. An agent that finds this after another's
    /// death does not know whether it arrived, and offers it again.
    Clearing = 3,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Vm {
    /// Counts up with every VM that had this slot.
    pub generation: u32,
    pub life: u32,
    pub tgid: u32,
    /// The process that took this slot; taken atomically, as a slot may be offered twice.
    pub taken_by: u32,
    /// The process' start, in the ticks of /proc/PID/stat: with the tgid it names the process for
    /// good. Written by the agent, once it has looked.
    pub started: u64,
    /// What this VM may ask for; written by the agent, and its own once the generation in it is
    /// this record's.
    pub policy: Policy,
    /// The limiter's state; written atomically.
    pub limiter: u64,
    /// TSC_INFO requests that were admitted; written atomically.
    pub tsc_infos: u64,
    /// When a request was last over the limit, in ns of CLOCK_MONOTONIC; 0 once that row has
    /// ended, see [`Vm::changes_row`].
    pub throttled: u64,
    /// The signal that takes one of its vCPUs out of the guest, if its VMM is known to handle
    /// one; [`NO_KICK`] if it is not known, 0 while it is not yet looked for, or not yet
    /// handled. Written by the agent.
    pub kick: u64,
    /// KVM_RUNs that were refused to hold a vCPU, vCPUs that were held, and that were stopped;
    /// written atomically.
    pub refused_runs: u64,
    pub held: u64,
    pub stopped: u64,
    /// Decisions in audit and in enforce, by kind; written atomically.
    pub decisions: [Decisions; message::KINDS],
    /// When the record began, when the last request ended, when the process went, in ns of
    /// CLOCK_MONOTONIC.
    pub first_seen: u64,
    pub last_request: u64,
    pub exited: u64,
    /// Guest contexts launched and decommissioned; written atomically.
    pub contexts_launched: u64,
    pub contexts_retired: u64,
    /// Requests that the PSP answered, by VMPCK; the last cell counts numbers above 3.
    pub vmpck: [u64; message::VMPCKS + 1],
    /// Extended requests; written atomically.
    pub extended: u64,
    pub duration: Slots,
    pub stage_ns: [u64; STAGES],
    /// The PSP's time by [`command::Class`].
    pub psp_ns: [u64; command::CLASSES],
    /// By [`crate::sequence::Anomaly`].
    pub anomalies: [u64; ANOMALIES],
    /// The guest contexts of this process; most have one.
    pub guests: [Guest; GUESTS],
    /// Requests by kind and outcome. Cells of `host_error` are written atomically.
    pub requests: [Results; message::KINDS],
}

/// A VMM that is not known to handle any signal gets none.
pub const NO_KICK: u64 = u64::MAX;

/// How long a VM keeps to its limit before a row of requests over it counts as ended.
pub const ROW_ENDS_NS: u64 = 1_000_000_000;

/// Guest contexts that a VM's record has room for.
pub const GUESTS: usize = 4;

impl Vm {
    /// The counts of a kind. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn requests(&mut self, kind: u8) -> &mut Results {
        &mut self.requests[kind as usize & (message::KINDS - 1)]
    }

    /// The decisions on a kind. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn decisions(&mut self, kind: u8) -> &mut Decisions {
        &mut self.decisions[kind as usize & (message::KINDS - 1)]
    }

    /// The counters of a guest context, if they stand here.
    #[inline(always)]
    pub fn counters(&mut self, address: u64) -> Option<&mut Counters> {
        let guest = self.guests.iter_mut().find(|guest| guest.address == address)?;
        Some(&mut guest.counters)
    }

    /// Counts a guest request that the PSP answered.
    #[inline(always)]
    pub fn answer(&mut self, request: &Running, stages: &Stages, outcome: u8) {
        *self.requests(request.message.kind).cell(outcome) += 1;
        for (sum, ns) in self.stage_ns.iter_mut().zip(stages.ns) {
            *sum += ns;
        }
        self.duration[histogram::slot(stages.total()) & (SLOTS - 1)] += 1;
        let vmpck = request.message.vmpck as usize;
        self.vmpck[if vmpck < message::VMPCKS { vmpck } else { message::VMPCKS }] += 1;
    }

    /// Judges the number of a message that reached the PSP, and counts what is wrong with it;
    /// `None` if the counters of its guest context do not stand here.
    #[inline(always)]
    pub fn judge(&mut self, context: u64, message: &Summary, succeeded: bool) -> Option<Numbered> {
        let anomaly = self.counters(context)?.check(message.vmpck, message.seqno, succeeded);
        self.count_anomaly(anomaly);
        Some(Numbered::of(anomaly))
    }

    #[inline(always)]
    pub fn count_anomaly(&mut self, anomaly: Option<Anomaly>) {
        if let Some(anomaly) = anomaly {
            self.anomalies[anomaly as usize & (ANOMALIES - 1)] += 1;
        }
    }

    /// Takes a guest context in; false if there is no room.
    #[inline(always)]
    pub fn welcome(&mut self, address: u64, counters: Counters) -> bool {
        let free = |guest: &&mut Guest| guest.address == 0 || guest.address == address;
        match self.guests.iter_mut().find(free) {
            Some(guest) => {
                *guest = Guest { address, counters };
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    pub fn dismiss(&mut self, address: u64) {
        for guest in &mut self.guests {
            if guest.address == address {
                guest.address = 0;
            }
        }
    }

    /// Takes in whether a request was over the limit. True if it begins a row of such requests,
    /// or ends one: the first that is admitted [`ROW_ENDS_NS`] after the last that was not. A VM
    /// that pushes against its limit is admitted every now and then, which ends nothing.
    #[inline(always)]
    pub fn changes_row(&mut self, over: bool, now: u64) -> bool {
        let last = self.throttled;
        if over {
            self.throttled = now.max(1);
            return last == 0;
        }
        let ends = last != 0 && now.saturating_sub(last) >= ROW_ENDS_NS;
        if ends {
            self.throttled = 0;
        }
        ends
    }

    /// Whether every guest context that this process launched was decommissioned: it has no
    /// guest any more, until it launches another one.
    pub fn is_decommissioned(&self) -> bool {
        self.contexts_launched > 0 && self.contexts_retired >= self.contexts_launched
    }

    /// All requests, whatever became of them.
    pub fn total(&self) -> u64 {
        self.requests.iter().map(Results::total).sum()
    }
}

#[cfg(test)]
mod tests;
