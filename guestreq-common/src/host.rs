//! # The host's record
//!
//! Totals over all VMs, the running command, and losses by reason. Written under `sev_cmd_mutex`,
//! except for fields marked "atomically".

mod totals;

pub use totals::{CommandTotals, HostTotals, MessageTotals};

use crate::{
    arithmetic::difference,
    command,
    event::EventKind,
    gate,
    histogram::{self, SLOTS},
    outcome::Outcome,
    policy::{AfterDenial, Backend, Policy, Rules},
    request::{Running, STAGES, STOPPED, Stack, Stages, until_allowed},
    sequence::Anomaly,
    units::MonotonicNs,
    vm::Vm,
};

named_enum! {
    /// Why something was not counted or reported.
    pub enum Loss {
        /// More guest contexts than slots: requests count for the host only, and their sequence
        /// numbers are not checked.
        VmTableFull = 0 => "vm_table_full",
        /// More vCPU threads than records: the request's waiting times are unknown.
        ThreadTableFull = 1 => "thread_table_full",
        /// No room for a guest context's address: as for `VmTableFull`. Without a slot either, no room
        /// for its limits' state: its request gets BUSY.
        ContextTableFull = 2 => "context_table_full",
        /// The agent reads events too slowly; counts are not affected.
        RingBufferFull = 3 => "ring_buffer_full",
        /// A command's start or end was missed: it was not counted.
        CommandUnmatched = 4 => "command_unmatched",
        /// A message's header was unreadable: it counts as unknown.
        HeaderUnreadable = 5 => "header_unreadable",
        /// Requests raced for a VM's limit at each attempt: they count as over it.
        LimiterContended = 6 => "limiter_contended",
        /// A request was still open when its thread began another or ended: its end was missed, so
        /// it was not counted.
        RequestUnmatched = 7 => "request_unmatched",
    }
}

pub const LOSSES: usize = Loss::ALL.len();

/// How decisions are enforced. Set by the agent, unless marked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EnforcementRecord {
    /// For VMs without a policy of their own.
    pub policy: Policy,
    /// [`crate::policy::Backend`]
    pub backend: u64,
    /// [`crate::policy::AfterDenial`]
    pub after_denial: u64,
    /// What identifies the gate's questions: its file, and a secret of the gate and root. 0: there is
    /// no gate.
    pub gate_file: u64,
    pub gate_cookie: u64,
    /// The bits of a weight that the gate understands: all, or with protocol 1 none.
    pub gate_weights: u64,
    /// Since when every request must be decided before it reaches the PSP; never: not expected.
    pub armed_at: MonotonicNs,
    /// When the agent was last alive.
    pub heartbeat: MonotonicNs,
    /// Nonzero: rules name VMs and some policy enforces, so new VMs wait for their policy.
    pub waits: u64,
    /// A random number in the agent's own ioctl(2), which tests that the hook fires; 0: no test runs.
    pub challenge: u64,
    /// The number of the last self-test that our program answered; written by the program.
    pub self_test: u64,
}

impl EnforcementRecord {
    /// Whether the backend is [`Backend::Vcpu`].
    #[inline(always)]
    pub const fn holds_vcpus(&self) -> bool {
        self.backend == Backend::Vcpu as u64
    }

    /// Until when backend vcpu keeps a vCPU out of its guest that sent a disallowed type, by its row.
    #[inline(always)]
    pub const fn held_after_denial(&self, row: u8) -> MonotonicNs {
        if self.after_denial == AfterDenial::Stop as u64 { STOPPED } else { until_allowed(row) }
    }

    #[inline(always)]
    pub const fn has_gate(&self) -> bool {
        self.gate_file != 0
    }

    /// The answer to the gate that admits a request under these rules.
    #[inline(always)]
    pub const fn admit(&self, rules: Rules) -> i32 {
        gate::admit(rules.weight_bits() & self.gate_weights as u8)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// [`crate::SCHEMA`], set by the agent.
    pub schema: u64,
    pub totals: HostTotals,
    pub commands: Stack,
    /// Set by the agent, for a later one: the start of the direct map (`page_offset_base`), and the
    /// encryption bit of physical addresses (`sme_me_mask`). Both are valid until the next boot.
    pub page_offset: u64,
    pub encryption_mask: u64,
    /// The same: the offsets in bytes of `task_struct.signal` and `signal_struct.live`.
    pub signal_of_task: u32,
    pub live_of_signal: u32,
    pub enforcement: EnforcementRecord,
    /// Set by the agent: nonzero while a follower streams every request.
    pub report_all: u64,
    /// Set by the agent: a request that takes longer, in ns, is reported as slow.
    pub slow_ns: u64,
    /// The PSP's mean time per guest request in ns, weighted towards the latest.
    pub service_ns: u64,
    /// When the next message that takes a turn may be admitted, when the last such message was
    /// first refused, both in ns of CLOCK_MONOTONIC, and its guest context ([`crate::turn::Turn`]);
    /// written atomically.
    pub turn: u64,
    pub turn_refused: u64,
    pub turn_holder: u64,
    /// Requests that began and stopped waiting for the PSP; written atomically.
    pub queued: u64,
    pub dequeued: u64,
    /// Threads and guest contexts with records; written atomically.
    pub threads: u64,
    pub contexts: u64,
}

/// How a command ended: what its event carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Completion {
    pub outcome: Outcome,
    pub anomaly: Option<Anomaly>,
    pub stages: Stages,
}

impl Host {
    /// t3: counts a command that has returned, for the host and its VM.
    ///
    /// `ret` is what `__sev_do_cmd_locked` returned; `outcome`: [`Outcome::of_command`].
    #[inline(always)]
    pub fn finish(
        &mut self,
        vm: Option<&mut Vm>,
        command: &Running,
        now: MonotonicNs,
        ret: i32,
        outcome: Outcome,
    ) -> Completion {
        let elapsed = now.since(command.started);
        let busy = difference(elapsed, command.nested);
        self.commands.charge_enclosing(elapsed);
        let totals = &mut self.totals.commands[command::index_of(command.command)];
        totals.count += 1;
        totals.busy_ns += busy;
        totals.failed += (ret != 0) as u64;

        let class = command::Class::of(command.command);
        let is_request = command.command == command::SNP_GUEST_REQUEST;
        let mut completion = Completion { outcome, ..Completion::default() };
        if is_request {
            completion.stages = Stages::of(command, now);
        }
        let is_answer = is_request && outcome.is_answered();
        if is_answer {
            self.answer(command, &completion.stages, outcome);
        }
        if let Some(vm) = vm {
            vm.psp_ns[class as usize % command::CLASSES] += busy;
            // No sign that this VM runs: it is the one its process launched last, perhaps still
            // launching.
            vm.tio_requests += (command.command == command::TIO_GUEST_REQUEST) as u64;
            if is_request {
                vm.last_request = now;
            }
            if is_answer {
                vm.answer(command, &completion.stages, outcome);
            }
        }
        completion
    }

    /// Counts a launch command that has returned, for its VM's launch and all.
    #[inline(always)]
    pub fn advance_launch(&mut self, vm: &mut Vm, command: &Running) {
        let outcome = Outcome(command.outcome as u8);
        if vm.launch.is_unseen() && vm.has_requests() {
            // A guest runs: its launch is over, whatever the VMM tries.
            return;
        }
        let stage_ns = vm.launch.add(command, outcome);
        self.totals.launches.add(stage_ns);
    }

    /// Counts a guest request that the PSP answered. Host errors are the caller's to count, as other
    /// hooks write their cells, too.
    #[inline(always)]
    fn answer(&mut self, request: &Running, stages: &Stages, outcome: Outcome) {
        let service = stages.ns[STAGES - 1];
        let mean = self.service_ns;
        self.service_ns = if mean == 0 { service } else { mean - mean / 8 + service / 8 };
        let message = self.totals.message(request.message.row);
        *message.results.cell(outcome) += 1;
        for stage in 0..STAGES {
            let ns = stages.ns[stage];
            message.stage[stage][histogram::slot(ns) & (SLOTS - 1)] += 1;
            message.stage_ns[stage] += ns;
        }
    }
}

/// The event to report: an anomaly, a host error, a slow request, or any request while a follower
/// streams all.
#[inline(always)]
pub fn event_of(host: &Host, completion: &Completion) -> Option<EventKind> {
    match completion.anomaly {
        Some(Anomaly::Replay) => return Some(EventKind::Replay),
        Some(Anomaly::Gap) => return Some(EventKind::Gap),
        None => {}
    }
    if !completion.outcome.is_answered() {
        Some(EventKind::HostError)
    } else if completion.stages.total() > host.slow_ns {
        Some(EventKind::Slow)
    } else if host.report_all != 0 {
        Some(EventKind::Request)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
