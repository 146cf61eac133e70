//! # What is known of the host
//!
//! Totals that outlive every VM, the command that runs now, and a counter for
//! each way in which something may be lost. Written under `sev_cmd_mutex`,
//! except for the fields that say "atomically".

mod totals;

pub use totals::{CommandTotals, Message, Totals};

use crate::{
    command, event,
    histogram::{self, SLOTS},
    outcome,
    policy::Policy,
    request::{self, Running, STAGES, Stack, Stages},
    sequence::Anomaly,
    vm::Vm,
};

/// How something that should have been counted, or told, was not.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// More guest contexts than slots: its requests count for the host only, and their numbers are
    /// not checked.
    VmTableFull = 0,
    /// More vCPU threads than records: the request's waiting times are not known.
    ThreadTableFull = 1,
    /// A guest context's address could not be noted: as above.
    ContextTableFull = 2,
    /// Nobody reads the events fast enough; the counts are not affected.
    RingBufferFull = 3,
    /// A command's start or end was not seen, so the command was not counted.
    CommandUnmatched = 4,
    /// A message's header could not be read; it counts as unknown.
    HeaderUnreadable = 5,
    /// Requests that raced for the same VM's limit each time: they count as over it.
    LimiterContended = 6,
    /// A request was still open when its thread began another one, or ended: how it ended was not
    /// seen, so it was not counted.
    RequestUnmatched = 7,
}

pub const LOSSES: usize = 8;

impl Loss {
    pub const ALL: [Loss; 8] = [
        Loss::VmTableFull,
        Loss::ThreadTableFull,
        Loss::ContextTableFull,
        Loss::RingBufferFull,
        Loss::CommandUnmatched,
        Loss::HeaderUnreadable,
        Loss::LimiterContended,
        Loss::RequestUnmatched,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Loss::VmTableFull => "vm_table_full",
            Loss::ThreadTableFull => "thread_table_full",
            Loss::ContextTableFull => "context_table_full",
            Loss::RingBufferFull => "ring_buffer_full",
            Loss::CommandUnmatched => "command_unmatched",
            Loss::HeaderUnreadable => "header_unreadable",
            Loss::LimiterContended => "limiter_contended",
            Loss::RequestUnmatched => "request_unmatched",
        }
    }
}

/// How decisions are carried out. Set by the agent, except where it says otherwise.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Enforcement {
    /// For VMs that have no policy of their own.
    pub policy: Policy,
    /// [`crate::policy::Backend`]
    pub backend: u64,
    /// By what the gate's questions are known: its file, and a number that only it and root
    /// know. 0: there is no gate.
    pub gate_file: u64,
    pub gate_cookie: u64,
    /// Since when every request must have been decided before it reaches the PSP, in ns of
    /// CLOCK_MONOTONIC; 0: not expected.
    pub armed_at: u64,
    /// When the agent was last seen alive.
    pub heartbeat: u64,
    /// Nonzero: rules name VMs and some policy enforces, so that new VMs wait for theirs.
    pub waits: u64,
    /// A random number that an ioctl(2) of the agent's own carries, to see that the hook fires;
    /// 0: none is under way.
    pub challenge: u64,
    /// The number of the last self-test that our program answered; written by it.
    pub self_test: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// [`crate::SCHEMA`], set by the agent: what a later agent knows this record by.
    pub schema: u64,
    pub totals: Totals,
    pub now: Stack,
    /// Set by the agent: where the direct map begins (`page_offset_base`), and the encryption bit
    /// of physical addresses (`sme_me_mask`). For a later agent: both hold until the next boot.
    pub page_offset: u64,
    pub encryption_mask: u64,
    /// The same: where `task_struct` has its `signal`, and that its `live`, in bytes.
    pub signal_of_task: u32,
    pub live_of_signal: u32,
    pub enforcement: Enforcement,
    /// Set by the agent: nonzero while someone wants to see every request.
    pub tell_all: u64,
    /// Set by the agent: a request that takes longer, in ns, is told as slow.
    pub slow_ns: u64,
    /// How long the PSP takes for a guest request, in ns: of the last ones, the later the more.
    pub service_ns: u64,
    /// When the next VM that was over its limit may be admitted ([`crate::gcra::Turn`]), in ns of
    /// CLOCK_MONOTONIC; written atomically.
    pub turn: u64,
    /// Requests that began to wait for the PSP, and that ceased to; written atomically.
    pub queued: u64,
    pub dequeued: u64,
    /// Threads and guest contexts that have records; written atomically.
    pub threads: u64,
    pub contexts: u64,
    /// Since when no VM found a slot, in ns of CLOCK_MONOTONIC; 0 while there is one.
    pub full_since: u64,
}

/// What a command's end calls for, beyond the counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    pub outcome: u8,
    pub anomaly: Option<Anomaly>,
    pub stages: Stages,
}

impl Host {
    /// The totals of a kind.
    #[inline(always)]
    pub fn message(&mut self, kind: u8) -> &mut Message {
        self.totals.message(kind)
    }

    /// t3: counts a command that has returned, for the host and its VM.
    ///
    /// `ret` is what `__sev_do_cmd_locked` returned, `outcome` what that and the status come to
    /// ([`outcome::of_command`]).
    #[inline(always)]
    pub fn finish(
        &mut self,
        vm: Option<&mut Vm>,
        command: &Running,
        now: u64,
        ret: i32,
        outcome: u8,
    ) -> Verdict {
        let elapsed = now.saturating_sub(command.started);
        let busy = elapsed.saturating_sub(command.nested);
        self.now.charge_enclosing(elapsed);
        let totals = &mut self.totals.commands[command::index_of(command.command)];
        totals.count += 1;
        totals.busy_ns += busy;
        totals.failed += (ret != 0) as u64;

        let class = command::Class::of(command.command);
        let is_request = command.command == command::SNP_GUEST_REQUEST;
        let mut verdict = Verdict { outcome, ..Verdict::default() };
        if is_request {
            verdict.stages = Stages::of(command, now);
        }
        let is_answer = is_request && request::answered(outcome);
        if is_answer {
            self.answer(command, &verdict.stages, outcome);
        }
        if let Some(vm) = vm {
            vm.psp_ns[class as usize % command::CLASSES] += busy;
            // No sign that this VM runs: it is the last one that its process has launched, and may
            // be in the middle of that.
            vm.tio_requests += (command.command == command::TIO_GUEST_REQUEST) as u64;
            if is_request {
                vm.last_request = now;
            }
            if is_answer {
                vm.answer(command, &verdict.stages, outcome);
            }
        }
        verdict
    }

    /// Counts a guest request that the PSP answered. A host error's cells are the caller's to
    /// count: other hooks write them, too.
    #[inline(always)]
    fn answer(&mut self, request: &Running, stages: &Stages, outcome: u8) {
        let service = stages.ns[STAGES - 1];
        let mean = self.service_ns;
        self.service_ns = if mean == 0 { service } else { mean - mean / 8 + service / 8 };
        let message = self.message(request.message.kind);
        *message.results.cell(outcome) += 1;
        for stage in 0..STAGES {
            let ns = stages.ns[stage];
            message.stage[stage][histogram::slot(ns) & (SLOTS - 1)] += 1;
            message.stage_ns[stage] += ns;
        }
    }
}

/// What someone must see one by one: an anomaly, a host error, a slow request,
/// or everything while someone listens.
#[inline(always)]
pub fn worth_telling(host: &Host, verdict: &Verdict) -> Option<event::Kind> {
    match verdict.anomaly {
        Some(Anomaly::Replay) => return Some(event::Kind::Replay),
        Some(Anomaly::Gap) => return Some(event::Kind::Gap),
        None => {}
    }
    if verdict.outcome == outcome::HOST_ERROR {
        Some(event::Kind::HostError)
    } else if verdict.stages.total() > host.slow_ns {
        Some(event::Kind::Slow)
    } else if host.tell_all != 0 {
        Some(event::Kind::Request)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
