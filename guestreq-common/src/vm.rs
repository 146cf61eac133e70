//! # What is known of one VM
//!
//! A VM is a guest context of the PSP's (`gctx_paddr`), from its creation to its
//! decommissioning, whichever process or thread runs its vCPUs: KVM lets any process run
//! them that shares the VMM's memory. Its record is written under `sev_cmd_mutex`, which
//! serialises the PSP's answers, so plain additions are exact; the fields that other hooks
//! write, too, say so and are written atomically.

use crate::{
    command,
    histogram::{self, SLOTS, Slots},
    message::{self, Summary},
    outcome,
    policy::{DECISIONS, Decision, Mode, Policy},
    request::{NO_VM, Numbered, Running, STAGES, Stages},
    sequence::{ANOMALIES, Counters},
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
    /// Its guest context is decommissioned; the slot is kept for a while, so that a scrape sees
    /// its end.
    Exited = 2,
    /// Cleared, and on its way to the free slots. An agent that finds this after another's
    /// death does not know whether it arrived, and offers it again.
    Clearing = 3,
}

/// What a guest context has been used for so far.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// Nothing: it was created.
    Not = 0,
    /// SNP_LAUNCH_START was seen.
    Launched = 1,
    /// A request of it was decided, and is counted so.
    Decided = 2,
}

/// Where a VM's record stands, for as long as it is that VM's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmRef {
    pub slot: u32,
    /// The slot's, which changes with each VM that has it.
    pub generation: u32,
}

impl VmRef {
    pub const NONE: VmRef = VmRef { slot: NO_VM, generation: 0 };
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Vm {
    /// Counts up with every VM that had this slot.
    pub generation: u32,
    pub life: u32,
    /// The process that launched it; of a VM that was there before us, the one that made the first
    /// request that we saw. It tells the VM's name. It may end before the VM does.
    pub tgid: u32,
    /// The process that took this slot; taken atomically, as a slot may be offered twice.
    pub taken_by: u32,
    /// That process' start, in the ticks of /proc/PID/stat: with the tgid it names the process for
    /// good. Written by the agent, once it has looked.
    pub started: u64,
    /// The guest context's physical address, as commands name it; 0 once it is decommissioned.
    pub context: u64,
    /// Its messages' numbers.
    pub counters: Counters,
    /// The process that made its last request; nearly always the one above.
    pub runner: u32,
    /// A [`Used`]; only grows. Nobody writes it at the same time as another: a guest makes no request
    /// before its launch is over.
    pub used: u32,
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
    /// When the record began, when the last request ended, when the context was decommissioned, in
    /// ns of CLOCK_MONOTONIC.
    pub first_seen: u64,
    pub last_request: u64,
    pub exited: u64,
    /// Requests that the PSP answered, by VMPCK; the last cell counts numbers above 3.
    pub vmpck: [u64; message::VMPCKS + 1],
    /// Extended requests; written atomically.
    pub extended: u64,
    /// Messages about its devices: [`command::TIO_GUEST_REQUEST`].
    pub tio_requests: u64,
    pub duration: Slots,
    pub stage_ns: [u64; STAGES],
    /// The PSP's time by [`command::Class`].
    pub psp_ns: [u64; command::CLASSES],
    /// By [`crate::sequence::Anomaly`].
    pub anomalies: [u64; ANOMALIES],
    /// Requests by kind and outcome. Cells of `host_error` are written atomically.
    pub requests: [Results; message::KINDS],
}

/// A VMM that is not known to handle any signal gets none.
pub const NO_KICK: u64 = u64::MAX;

/// How long a VM keeps to its limit before a row of requests over it counts as ended.
pub const ROW_ENDS_NS: u64 = 1_000_000_000;

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

    /// Judges the number of a message that reached the PSP, and counts what is wrong with it.
    #[inline(always)]
    pub fn judge(&mut self, message: &Summary, succeeded: bool) -> Numbered {
        let anomaly = self.counters.check(message.vmpck, message.seqno, succeeded);
        if let Some(anomaly) = anomaly {
            self.anomalies[anomaly as usize & (ANOMALIES - 1)] += 1;
        }
        Numbered::of(anomaly)
    }

    /// Begins the record of a guest context. The record is the caller's alone until the context's
    /// address leads to it.
    #[inline(always)]
    pub fn begin(&mut self, context: u64, tgid: u32, counters: Counters, now: u64) {
        self.context = context;
        self.tgid = tgid;
        self.runner = tgid;
        self.counters = counters;
        self.used = Used::Not as u32;
        self.first_seen = now;
    }

    /// The guest context is gone: no command names this VM any more, and its address may become
    /// another's.
    #[inline(always)]
    pub fn end(&mut self, now: u64) {
        self.context = 0;
        self.exited = now;
        self.life = Life::Exited as u32;
    }

    /// Makes the record of a VM that made no request another one's: under a new generation, so that
    /// what still leads here finds nothing. What only requests write is as it was.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.context = 0;
        (self.tgid, self.runner, self.used) = (0, 0, Used::Not as u32);
        (self.started, self.first_seen, self.kick) = (0, 0, 0);
        (self.refused_runs, self.held, self.stopped) = (0, 0, 0);
        self.tio_requests = 0;
        self.psp_ns = [0; command::CLASSES];
        self.life = Life::Free as u32;
    }

    /// Whether SNP_LAUNCH_START comes for another guest context than this record's: one context is
    /// launched once, so that its address is another's by now, and nobody saw its end.
    #[inline(always)]
    pub fn is_launched_again(&self) -> bool {
        self.used != Used::Not as u32 || self.last_request != 0
    }

    /// Whether anything of its requests is counted here. One whose end no program saw, as the kernel
    /// skips programs, has left its decision alone.
    #[inline(always)]
    pub fn has_requests(&self) -> bool {
        self.last_request != 0 || self.used == Used::Decided as u32
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

    /// All requests, whatever became of them.
    pub fn total(&self) -> u64 {
        self.requests.iter().map(Results::total).sum()
    }
}

#[cfg(test)]
mod tests;
