//! # VM records
//!
//! A VM is a guest context (`gctx_paddr`) from creation to decommissioning, whichever process or
//! thread runs its vCPUs: KVM lets any process that shares the VMM's memory run them. Most fields
//! are written under `sev_cmd_mutex`, which serialises the PSP's answers, so plain additions are
//! exact. Counters that other hooks write are marked, and written atomically; other fields of theirs
//! are single words, plainly stored.

mod counts;

pub use counts::{Decisions, Results};

use crate::{
    command,
    histogram::{self, SLOTS, Slots},
    launch::Launch,
    message::{MESSAGE_TYPES, Summary, VMPCKS},
    outcome::Outcome,
    policy::{Limiter, Policy},
    request::{Running, STAGES, SequenceCheck, Stages},
    sequence::{ANOMALIES, Counters},
    units::{GuestContext, MonotonicNs},
};

/// The life of a slot and its VM.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Free = 0,
    Running = 1,
    /// The guest context is decommissioned; the slot is kept for a while, so that scrapes see the
    /// final counts.
    Exited = 2,
    /// Cleared, and being returned to the free slots. An agent that finds this after another's
    /// crash cannot know whether that finished, and returns the slot again.
    Clearing = 3,
}

/// What a guest context has been used for.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextUse {
    /// It was created.
    Created = 0,
    /// SNP_LAUNCH_START was seen.
    Launched = 1,
    /// One of its requests was decided and counted.
    Decided = 2,
}

/// A VM's record: its slot, for as long as the slot has this generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmRef {
    pub slot: u32,
    /// Changes with each VM in the slot; 0: none yet.
    pub generation: u32,
}

impl VmRef {
    /// A command of no VM, or of one for which there was no slot.
    pub const NONE: VmRef = VmRef { slot: u32::MAX, generation: 0 };

    /// Whether there is no VM, whatever the generation.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.slot == VmRef::NONE.slot
    }

    pub const fn new(slot: usize, generation: u32) -> VmRef {
        VmRef { slot: slot as u32, generation }
    }

    /// The slot as an index.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// The first word of a [`Vm`]: generation and life, which change together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotState(pub u64);

impl SlotState {
    pub const fn new(generation: u32, life: Life) -> SlotState {
        SlotState(generation as u64 | (life as u64) << 32)
    }

    pub const fn generation(self) -> u32 {
        self.0 as u32
    }

    pub fn is(self, life: Life) -> bool {
        self == SlotState::new(self.generation(), life)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Vm {
    /// The slot's: see [`VmRef`].
    pub generation: u32,
    /// [`Life`]
    pub life: u32,
    /// The process that launched it, or sent the first request seen. It names the VM, and may end
    /// before the VM does.
    pub tgid: u32,
    /// The process that took this slot; written atomically, as a slot may be offered twice.
    pub taken_by: u32,
    /// The start of process `tgid` in ticks, as in /proc/PID/stat: together they identify the
    /// process. Written by the agent.
    pub started: u64,
    /// None once it is decommissioned.
    pub context: GuestContext,
    pub counters: Counters,
    /// The process of the last request; nearly always `tgid`.
    pub runner: u32,
    /// [`ContextUse`]; only grows. Writes never race: a guest sends no request before its launch
    /// is over.
    pub used: u32,
    /// Written by the agent; valid once its rules carry this record's generation.
    pub policy: Policy,
    pub limiter: Limiter,
    /// Requests over a limit that were admitted because they had waited so long.
    pub rescued: u64,
    /// Admitted TSC_INFO requests; written atomically.
    pub tsc_infos: u64,
    /// The last request over the limit; never, if the series has ended ([`Vm::throttle_edge`]).
    pub throttled: MonotonicNs,
    /// The signal that makes a vCPU leave the guest, if the VMM handles one; [`NO_KICK`] if that is
    /// unknown, 0 until the VMM was examined or handles one. Written by the agent.
    pub kick: u64,
    /// Refused KVM_RUNs, held vCPUs and stopped vCPUs; written atomically.
    pub refused_runs: u64,
    pub held: u64,
    pub stopped: u64,
    /// By message type; written atomically.
    pub decisions: [Decisions; MESSAGE_TYPES],
    /// When the record began, the last request ended, and the context was decommissioned.
    pub first_seen: MonotonicNs,
    pub last_request: MonotonicNs,
    pub exited: MonotonicNs,
    /// Answered requests by VMPCK; the last cell counts numbers above 3.
    pub vmpck: [u64; VMPCKS + 1],
    /// Extended requests; written atomically.
    pub extended: u64,
    /// Messages about devices: [`command::TIO_GUEST_REQUEST`].
    pub tio_requests: u64,
    pub duration: Slots,
    pub stage_ns: [u64; STAGES],
    /// PSP time by [`command::Class`].
    pub psp_ns: [u64; command::CLASSES],
    pub launch: Launch,
    /// By [`crate::sequence::Anomaly`].
    pub anomalies: [u64; ANOMALIES],
    /// By message type and outcome. Cells of [`Outcome::HOST_ERROR`] are written atomically.
    pub requests: [Results; MESSAGE_TYPES],
}

/// The VMM is not known to handle a signal: it gets none.
pub const NO_KICK: u64 = u64::MAX;

/// How long a VM must stay below its limit before a series of requests over it ends.
pub const THROTTLE_ENDS_NS: u64 = 1_000_000_000;

impl Vm {
    /// Counts of a message type's row. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn requests(&mut self, row: u8) -> &mut Results {
        &mut self.requests[row as usize & (MESSAGE_TYPES - 1)]
    }

    /// Decisions on a message type's row. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn decisions(&mut self, row: u8) -> &mut Decisions {
        &mut self.decisions[row as usize & (MESSAGE_TYPES - 1)]
    }

    #[inline(always)]
    pub fn set_life(&mut self, life: Life) {
        self.life = life as u32;
    }

    /// Counts a guest request that the PSP answered.
    #[inline(always)]
    pub fn answer(&mut self, request: &Running, stages: &Stages, outcome: Outcome) {
        *self.requests(request.message.row).cell(outcome) += 1;
        for (sum, ns) in self.stage_ns.iter_mut().zip(stages.ns) {
            *sum += ns;
        }
        self.duration[histogram::slot(stages.total()) & (SLOTS - 1)] += 1;
        let vmpck = request.message.vmpck as usize;
        self.vmpck[if vmpck < VMPCKS { vmpck } else { VMPCKS }] += 1;
    }

    /// Checks the sequence number of a message that reached the PSP, and counts an anomaly.
    #[inline(always)]
    pub fn check_sequence(&mut self, message: &Summary, succeeded: bool) -> SequenceCheck {
        let anomaly = self.counters.check(message.vmpck, message.seqno, succeeded);
        if let Some(anomaly) = anomaly {
            self.anomalies[anomaly as usize & (ANOMALIES - 1)] += 1;
        }
        SequenceCheck::of(anomaly)
    }

    /// Begins a guest context's record. Only the caller uses it until the context's address leads
    /// here.
    #[inline(always)]
    pub fn begin(
        &mut self,
        context: GuestContext,
        tgid: u32,
        counters: Counters,
        limiter: Limiter,
        now: MonotonicNs,
    ) {
        self.limiter = limiter;
        self.context = context;
        self.tgid = tgid;
        self.runner = tgid;
        self.counters = counters;
        self.used = ContextUse::Created as u32;
        self.first_seen = now;
    }

    /// The guest context is decommissioned: its address may become another VM's.
    #[inline(always)]
    pub fn end(&mut self, now: MonotonicNs) {
        self.context = GuestContext::NONE;
        self.exited = now;
        self.set_life(Life::Exited);
    }

    /// Resets the record of a VM without requests for the next VM, under a new generation, so that
    /// old references find nothing. Fields that only requests write, and that
    /// [`Vm::begin`] writes, are untouched.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.context = GuestContext::NONE;
        (self.tgid, self.runner, self.used) = (0, 0, ContextUse::Created as u32);
        (self.started, self.first_seen, self.kick) = (0, MonotonicNs::NEVER, 0);
        (self.refused_runs, self.held, self.stopped) = (0, 0, 0);
        self.tio_requests = 0;
        self.psp_ns = [0; command::CLASSES];
        self.launch = Launch::default();
        self.set_life(Life::Free);
    }

    /// Whether SNP_LAUNCH_START must be for a new guest context at this record's address, whose end
    /// was not seen: a context is launched once.
    #[inline(always)]
    pub fn is_launched_again(&self) -> bool {
        self.used != ContextUse::Created as u32 || !self.last_request.is_never()
    }

    /// Whether any request is counted here, be it only by its decision: the kernel may skip the
    /// program that sees its end.
    #[inline(always)]
    pub fn has_requests(&self) -> bool {
        !self.last_request.is_never() || self.used == ContextUse::Decided as u32
    }

    /// Records whether a request was over the limit. True if it begins a series of such requests,
    /// or ends one: the first admitted [`THROTTLE_ENDS_NS`] after the last over the limit. A VM
    /// that keeps pushing is admitted now and then, which ends nothing.
    #[inline(always)]
    pub fn throttle_edge(&mut self, over: bool, now: MonotonicNs) -> bool {
        let last = self.throttled;
        if over {
            self.throttled = now.max(MonotonicNs(1));
            return last.is_never();
        }
        let ends = !last.is_never() && now.since(last) >= THROTTLE_ENDS_NS;
        if ends {
            self.throttled = MonotonicNs::NEVER;
        }
        ends
    }

    /// All requests, whatever their outcome.
    pub fn total(&self) -> u64 {
        self.requests.iter().map(Results::total).sum()
    }
}

#[cfg(test)]
mod tests;
