//! # Deciding a request
//!
//! Once per request: when the gate asks, or without a gate when the request has the PSP.
//! guestreq-common's `policy::decide` decides; this collects its inputs and acts on the result.

mod limiter;
mod report;
mod vcpu;

use aya_ebpf::EbpfContext;
use guestreq_common::{
    gate,
    host::{EnforcementRecord, Host, Loss},
    message::{MessageType, Summary},
    outcome::Outcome,
    policy::{self, Decision, Evaluation, Limiter, Mode, Policy, PolicyInput},
    request::Running,
    sequence::Counters,
    share::Credit,
    turn::Turn,
    units::{GuestContext, MonotonicNs, PidTgid},
    verifier::reload,
    vm::{ContextUse, Vm, VmRef},
};
use limiter::remember;
pub use limiter::{answered, charge};
use report::{report, report_bypass};
use vcpu::STRETCH_NS;
pub use vcpu::{hold, may_begin, may_run};

use crate::{
    atomic::{self, Word},
    kernel, maps, threads, vms,
};

/// The VM that sends a request.
struct Sender {
    vm: VmRef,
    context: GuestContext,
    /// The process that runs its vCPU.
    tgid: u32,
}

impl Sender {
    #[inline(always)]
    fn of(running: &Running) -> Sender {
        Sender { vm: running.vm, context: running.context, tgid: running.thread.tgid() }
    }
}

/// The gate asks about the current thread's request: makes the records that are missing. The guest
/// context alone selects the policy.
#[inline(always)]
pub fn prepare_at_gate<C: EbpfContext>(
    ctx: &C,
    thread: PidTgid,
    context: GuestContext,
    message: Summary,
) {
    let tgid = thread.tgid();
    let vm = vms::find_or_make(ctx, context, tgid, Counters::found());
    match maps::vm(vm) {
        Some(vm) => vm.runner = tgid,
        None => maps::make_limiter(context, kernel::now()),
    }
    if let Some(thread) = threads::find_or_make(thread) {
        thread.vm = vm;
        // If the call before this was missed, the request queues from now on.
        threads::queue(thread, context, message);
    }
}

/// Answers the gate, once there are records if there is room for them. `KNOWN`: the VM has one.
#[inline(always)]
pub fn at_gate<const KNOWN: bool>(
    host: &mut Host,
    thread: PidTgid,
    vm: VmRef,
    context: GuestContext,
    message: Summary,
) -> Decision {
    let now = kernel::now();
    let sender = Sender { vm, context, tgid: thread.tgid() };
    let Some(limiter) = decide::<KNOWN>(host, &sender, &message, now, Asked::AtGate) else {
        return without_state::<KNOWN>(host, thread, &sender, message.row, now);
    };
    let (effect, message) = (limiter.evaluation().effect(), limiter.message());
    remember(&mut limiter.waiting, &message, effect, now);
    count(&sender, limiter.message().row, &limiter.evaluation());
    report(host.report_all != 0, &sender, &limiter.message(), &limiter.evaluation(), now);
    let evaluation = limiter.evaluation();
    let effect = evaluation.effect();
    if effect != Decision::Admit {
        return refuse(host, thread, &sender, limiter.message().row, effect, now);
    }
    if let Some(thread) = threads::find_own(thread) {
        thread.set_admitted(evaluation.charged);
    }
    effect
}

/// There is no room to remember anything of it, or another VM has just taken its record. A limit or a
/// rule that may be its own refuses it.
#[inline(always)]
fn without_state<const KNOWN: bool>(
    host: &mut Host,
    thread: PidTgid,
    sender: &Sender,
    row: u8,
    now: MonotonicNs,
) -> Decision {
    let EnforcementRecord { policy, waits, .. } = &host.enforcement;
    let effect = if KNOWN || *waits != 0 { Decision::Busy } else { policy.without_state(row) };
    if effect != Decision::Admit {
        return refuse(host, thread, sender, row, effect, now);
    }
    if let Some(thread) = threads::find_own(thread) {
        thread.set_admitted(false);
    }
    effect
}

/// The request ends at the gate.
#[inline(always)]
fn refuse(
    host: &mut Host,
    thread: PidTgid,
    sender: &Sender,
    row: u8,
    effect: Decision,
    now: MonotonicNs,
) -> Decision {
    if let Some(thread) = threads::find_own(thread) {
        if thread.is_queued() {
            atomic::add(&mut host.dequeued, 1);
        }
        thread.set_idle();
    }
    count_refusal(sender, row, effect, now);
    effect
}

/// The answer to the gate if the VM's policy alone admits a request, with nothing to report; if so,
/// counts it. All else is for [`at_gate`].
#[inline(always)]
pub fn passes_at_gate(enforcement: &EnforcementRecord, vm: &mut Vm, row: u8) -> Option<i32> {
    let passes = passes(enforcement, vm, row, true, true);
    passes.then(|| enforcement.admit(own_or_default(vm, enforcement).0.rules()))
}

/// The answer to the gate. Weights are not decided: they hold in each mode.
#[inline(always)]
pub fn answer(host: &Host, vm: VmRef, effect: Decision) -> i32 {
    let enforcement = &host.enforcement;
    match effect {
        Decision::Admit => enforcement.admit(match maps::vm(vm) {
            Some(vm) => own_or_default(vm, enforcement).0.rules(),
            None => enforcement.policy.rules(),
        }),
        Decision::Deny => gate::DENY,
        Decision::Busy => gate::BUSY,
    }
}

/// Whether the VM's policy alone admits a request that has the PSP; if so, counts it. All else is for
/// [`at_psp`].
#[inline(always)]
pub fn passes_at_psp(enforcement: &EnforcementRecord, vm: &mut Vm, running: &Running) -> bool {
    if bypasses_gate(enforcement, running) {
        return false;
    }
    passes(enforcement, vm, running.message.row, false, enforcement.holds_vcpus())
}

/// Whether the gate should have asked about an undecided request.
#[inline(always)]
fn bypasses_gate(enforcement: &EnforcementRecord, running: &Running) -> bool {
    let armed = enforcement.armed_at;
    !armed.is_never() && running.queued > armed
}

#[inline(always)]
fn passes(
    enforcement: &EnforcementRecord,
    vm: &mut Vm,
    row: u8,
    at_gate: bool,
    enforced: bool,
) -> bool {
    let (policy, own) = own_or_default(vm, enforcement);
    let waits = enforcement.waits != 0 && !own;
    if waits || !vm.throttled.is_never() || vm.limiter.waiting.any() {
        return false;
    }
    if !policy.passes(row) {
        let rate = Word::new(&mut vm.limiter.rate);
        if !at_gate || !policy.takes_of_rate(row, &rate, kernel::now()) {
            return false;
        }
    }
    let mode = policy.rules().mode();
    if !mode.is_observe() {
        let mode = if enforced { mode } else { Mode::Audit };
        count_in(vm, row, mode, Decision::Admit);
    }
    true
}

/// Decides a request that has the PSP undecided, or whose thread has no record, so that its decision
/// is unknown. True if its vCPU must be held, until `held_until` in the request's record.
#[inline(always)]
pub fn at_psp<const KNOWN: bool>(has_thread: bool, running: &mut Running) -> bool {
    let Some(host) = maps::host() else { return false };
    let enforcement = &host.enforcement;
    running.charged = 0;
    if !has_thread && enforcement.has_gate() {
        // The gate asks without a record, too. It has admitted the request; in audit, perhaps only
        // because that refuses nothing.
        running.charged = policy_of(running, enforcement).charges() as u32;
        return false;
    }
    let sender = Sender::of(running);
    if bypasses_gate(enforcement, running) {
        host.totals.bypassed += 1;
        report_bypass(&sender, &running.message, running.started);
    }
    let row = running.message.row;
    let holds = enforcement.holds_vcpus();
    let now = running.started;
    let asked = Asked::AtPsp { holds };
    let Some(limiter) = decide::<KNOWN>(host, &sender, &running.message, now, asked) else {
        return false;
    };
    let mut evaluation = limiter.evaluation();
    running.charged = evaluation.charged as u32;
    if evaluation.mode.is_enforce() {
        // Even one that bypassed the gate takes the PSP's time.
        running.charged = policy_of(running, &host.enforcement).charges() as u32;
    }
    if holds && evaluation.mode.is_enforce() {
        count(&sender, row, &evaluation);
        // Each of them reaches the PSP, and is reported at its end.
        report(false, &sender, &running.message, &limiter.evaluation(), now);
        let evaluation = limiter.evaluation();
        running.held_until = match evaluation.decision {
            Decision::Admit => return false,
            Decision::Deny => host.enforcement.held_after_denial(row),
            // Its policy is not known yet: the longest hold.
            _ if evaluation.until.is_never() => now.plus(STRETCH_NS),
            _ => evaluation.until.min(now.plus(STRETCH_NS)),
        };
        return true;
    }
    if !evaluation.mode.is_observe() {
        // Nothing enforces it.
        evaluation.mode = Mode::Audit;
        count(&sender, row, &evaluation);
    }
    false
}

/// The policy of the VM whose request has the PSP.
#[inline(always)]
fn policy_of(running: &Running, enforcement: &EnforcementRecord) -> Policy {
    match maps::vm(running.vm) {
        Some(vm) => own_or_default(vm, enforcement).0,
        None => enforcement.policy,
    }
}

/// The VM's own policy once the agent has written it, else the default; and whether it is its own.
#[inline(always)]
fn own_or_default(vm: &Vm, enforcement: &EnforcementRecord) -> (Policy, bool) {
    if vm.policy.rules().generation() == vm.generation {
        (vm.policy, true)
    } else {
        (enforcement.policy, false)
    }
}

/// Where a request is decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The gate can refuse it.
    AtGate,
    /// It has the PSP; whether its vCPU can be held.
    AtPsp { holds: bool },
}

/// Decides, and returns the limiter's state with the evaluation. `None` if there is none: another VM
/// took its record, or there is no room.
///
/// A value that takes part in the decision is read when it is needed, not before: the verifier would
/// walk what is in between once for each of its values.
#[inline(always)]
fn decide<const KNOWN: bool>(
    host: &mut Host,
    sender: &Sender,
    message: &Summary,
    now: MonotonicNs,
    asked: Asked,
) -> Option<&'static mut Limiter> {
    let Host { enforcement, turn, turn_refused, turn_holder, service_ns, .. } = host;
    let turn = Turn {
        next: &Word::new(turn),
        last_refused: &Word::new(turn_refused),
        holder: &Word::new(turn_holder),
        context: sender.context,
        spacing_ns: *service_ns,
    };
    // Without a slot the default applies, with a limiter per guest context. TSC_INFOs are not
    // counted there, so none is free. A rule may name the VM: it waits for a slot, and then the
    // default decides.
    let mut policy = enforcement.policy;
    let mut tsc_infos = policy::FREE_TSC_INFOS;
    let mut own = false;
    let limiter = if KNOWN {
        let vm = maps::vm(sender.vm)?;
        policy = own_or_default(vm, enforcement).0;
        vm.limiter.examine(policy.share(), message, turn.spacing_ns, now);
        // Of the policy that decides: the agent may write the VM's own meanwhile.
        own = policy.rules().generation() == reload(&vm.generation);
        tsc_infos = vm.tsc_infos;
        &mut vm.limiter
    } else {
        let limiter = maps::limiter(sender.context)?;
        limiter.examine(policy.share(), message, turn.spacing_ns, now);
        limiter
    };
    let (waits, since) = (enforcement.waits != 0, reload(&limiter.first_seen));
    let unresolved = policy::is_unresolved(waits, own, since, enforcement.heartbeat, now);
    let place = reload(&limiter.place);
    let credit = Credit(reload(&limiter.credit));
    let spent = asked == Asked::AtPsp { holds: true };
    let row = limiter.message().row;
    let conforms_for = reload(&limiter.conforms_for);
    let input = PolicyInput { row, now, tsc_infos, unresolved, spent, place, credit, conforms_for };
    let evaluation = policy::decide(&policy, &input, &Word::new(&mut limiter.rate), &turn);
    limiter.set_evaluation(evaluation);
    Some(limiter)
}

#[inline(always)]
fn count(sender: &Sender, row: u8, evaluation: &Evaluation) {
    if evaluation.contended {
        maps::count_loss(Loss::LimiterContended, 1);
    }
    if evaluation.rescued {
        count_rescued(sender);
    }
    if evaluation.mode.is_observe() {
        return;
    }
    if let Some(vm) = maps::vm(sender.vm) {
        count_in(vm, row, evaluation.mode, evaluation.decision);
    }
}

#[inline(always)]
fn count_rescued(sender: &Sender) {
    if let Some(host) = maps::host() {
        atomic::add(&mut host.totals.rescued, 1);
    }
    if let Some(vm) = maps::vm(sender.vm) {
        atomic::add(&mut vm.rescued, 1);
    }
}

#[inline(always)]
fn count_in(vm: &mut Vm, row: u8, mode: Mode, decision: Decision) {
    atomic::add(vm.decisions(row).cell(mode, decision), 1);
    // Read first: the cache line stays shared between CPUs.
    if vm.used != ContextUse::Decided as u32 {
        vm.used = ContextUse::Decided as u32;
    }
    if row == MessageType::TscInfo as u8 && decision == Decision::Admit {
        atomic::add(&mut vm.tsc_infos, 1);
    }
}

/// Counts a request that the gate refuses, as nothing else sees its end.
#[inline(always)]
fn count_refusal(sender: &Sender, row: u8, effect: Decision, now: MonotonicNs) {
    let outcome = match effect {
        Decision::Admit => return,
        Decision::Deny => Outcome::DENIED,
        Decision::Busy => Outcome::BUSY,
    };
    if let Some(host) = maps::host() {
        atomic::add(host.totals.message(row).results.cell(outcome), 1);
    }
    if let Some(vm) = maps::vm(sender.vm) {
        atomic::add(vm.requests(row).cell(outcome), 1);
        vm.last_request = now;
    }
}
