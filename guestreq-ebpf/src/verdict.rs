//! # Deciding a request
//!
//! Once: when the gate asks; where no gate asks, once the request has the PSP.
//! What is decided is guestreq-common's `policy::decide`; here is where its
//! inputs stand, and what is done about the answer.

mod tell;
mod vcpu;

use aya_ebpf::EbpfContext;
use guestreq_common::{
    gcra::Turn,
    host::{Enforcement, Host, Loss},
    message::{Kind, Summary},
    outcome,
    policy::{self, Backend, Decision, Mode, Policy, Question, Verdict},
    request::{Decided, Running, STOPPED, State, Thread},
    sequence::Counters,
    vm::{Used, Vm, VmRef},
};
use tell::{tell, tell_bypass};
use vcpu::STRETCH_NS;
pub use vcpu::{hold, may_begin, may_run};

use crate::{
    atomic::{self, Limiter},
    kernel, maps, threads, vms,
};

/// What is to be known of who asks.
struct Asker {
    vm: VmRef,
    /// The guest context.
    context: u64,
    /// The process that runs its vCPU.
    tgid: u32,
}

impl Asker {
    #[inline(always)]
    fn of(running: &Running) -> Asker {
        let tgid = (running.thread >> 32) as u32;
        Asker { vm: running.whose(), context: running.context, tgid }
    }
}

/// The gate asks: what becomes of a thread's request, whose guest context and message are these.
/// The context alone says whose policy holds.
#[inline(always)]
pub fn at_the_gate<C: EbpfContext>(
    ctx: &C,
    thread: u64,
    context: u64,
    message: Summary,
) -> Decision {
    let tgid = (thread >> 32) as u32;
    // First: what is done before, the verifier would keep in mind for each way to a record.
    let ran = threads::known(thread).map_or(VmRef::NONE, |thread| thread.ran());
    let vm = match maps::vm(ran) {
        Some(vm) if vm.context == context => ran,
        _ => vms::find_or_make(ctx, context, tgid, Counters::found()),
    };
    if let Some(vm) = maps::vm(vm) {
        vm.runner = tgid;
    }
    let mut thread = threads::record(thread);
    if let Some(thread) = &mut thread {
        thread.runs(vm);
        // If the call that comes before this was missed, the request queues from now on.
        threads::queue(thread, context, message);
    }
    let Some(host) = maps::host() else { return Decision::Admit };
    let now = kernel::now();
    let asker = Asker { vm, context, tgid };
    let kind = message.kind;
    let verdict = decide(host, &asker, kind, now, false);
    count(&asker, kind, &verdict);
    let effect = verdict.effect();
    tell(host.tell_all != 0, &asker, &message, &verdict, now);
    let Some(thread) = thread else {
        count_refusal(&asker, kind, effect, now);
        return effect;
    };
    if effect as u8 == Decision::Admit as u8 {
        thread.decided = Decided::AtTheGate as u32;
        return effect;
    }
    // The request ends here.
    if thread.state == State::Queued as u32 {
        atomic::add(&mut host.dequeued, 1);
    }
    thread.state = State::Idle as u32;
    count_refusal(&asker, kind, effect, now);
    effect
}

/// Whether a request passes by its VM's policy alone, and there is nobody to tell; counts that, if
/// it is so. All else is for [`at_the_gate`].
#[inline(always)]
pub fn passes_at_the_gate(enforcement: &Enforcement, vm: &mut Vm, kind: u8) -> bool {
    passes(enforcement, vm, kind, true)
}

/// The same of a request that has the PSP; all else is for [`at_the_psp`].
#[inline(always)]
pub fn passes_at_the_psp(enforcement: &Enforcement, vm: &mut Vm, running: &Running) -> bool {
    let armed = enforcement.armed_at;
    if armed != 0 && running.queued > armed {
        return false;
    }
    passes(enforcement, vm, running.message.kind, enforcement.backend == Backend::Vcpu as u64)
}

#[inline(always)]
fn passes(enforcement: &Enforcement, vm: &mut Vm, kind: u8, carried_out: bool) -> bool {
    let (policy, own) = own_or_default(vm, enforcement);
    let waits = enforcement.waits != 0 && !own;
    if waits || vm.throttled != 0 || !policy.passes(kind) {
        return false;
    }
    let mode = policy.rules().mode();
    if mode as u8 != Mode::Observe as u8 {
        let mode = if carried_out { mode } else { Mode::Audit };
        count_in(vm, kind, mode, Decision::Admit);
    }
    true
}

/// A request has the PSP, and nobody has decided it; or there was no room for the thread's
/// record, so that it is not known. True if its vCPU is to be held, until the time that stands in
/// the request's record then.
#[inline(always)]
pub fn at_the_psp(thread: Option<&mut Thread>, running: &mut Running) -> bool {
    let Some(host) = maps::host() else { return false };
    let enforcement = &host.enforcement;
    if thread.is_none() && enforcement.gate_file != 0 {
        // There is a gate, which has asked without a record, too.
        return false;
    }
    let asker = Asker::of(running);
    let armed = enforcement.armed_at;
    if armed != 0 && running.queued > armed {
        host.totals.bypassed += 1;
        tell_bypass(&asker, &running.message, running.started);
    }
    let kind = running.message.kind;
    let held = enforcement.backend == Backend::Vcpu as u64;
    let now = running.started;
    let mut verdict = decide(host, &asker, kind, now, held);
    if held && verdict.mode as u8 == Mode::Enforce as u8 {
        count(&asker, kind, &verdict);
        // Each of them reaches the PSP, and is told at its end.
        tell(false, &asker, &running.message, &verdict, now);
        running.held_until = match verdict.decision {
            Decision::Admit => return false,
            Decision::Deny => STOPPED,
            // Not yet known which policy is its: as long as may be.
            _ if verdict.until == 0 => now + STRETCH_NS,
            _ => verdict.until.min(now + STRETCH_NS),
        };
        return true;
    }
    if verdict.mode as u8 != Mode::Observe as u8 {
        // Nothing carries it out.
        verdict.mode = Mode::Audit;
        count(&asker, kind, &verdict);
    }
    false
}

/// A VM's own policy, once the agent has written it; else the host's default. And whether it
/// is its own.
#[inline(always)]
fn own_or_default(vm: &Vm, enforcement: &Enforcement) -> (Policy, bool) {
    if vm.policy.rules().generation() == vm.generation {
        (vm.policy, true)
    } else {
        (enforcement.policy, false)
    }
}

#[inline(always)]
fn decide(host: &mut Host, asker: &Asker, kind: u8, now: u64, spent: bool) -> Verdict {
    let Host { enforcement, turn, service_ns, full_since, .. } = host;
    let turn = Turn { next: &Limiter::new(turn), spacing_ns: *service_ns };
    let mut question =
        Question { kind, now, tsc_infos: policy::FREE_TSC_INFOS, unresolved: false, spent };
    // More VMs than room: the default applies, and each guest context has a limiter of its own. Its
    // first TSC_INFOs cannot be counted, so that none is free. Without room for even that, over
    // every limit.
    let mut policy = enforcement.policy;
    let mut nothing = u64::MAX;
    let mut state = &mut nothing;
    if let Some(vm) = maps::vm(asker.vm) {
        let own;
        (policy, own) = own_or_default(vm, enforcement);
        question.tsc_infos = vm.tsc_infos;
        question.unresolved = policy::is_unresolved(
            enforcement.waits != 0,
            own,
            vm.first_seen,
            enforcement.heartbeat,
            now,
        );
        state = &mut vm.limiter;
    } else {
        // A rule may name it: for a while it waits for room, and then the default decides. Where
        // there is room by now, another one has just found it.
        let full_since = if *full_since == 0 { now } else { *full_since };
        question.unresolved = policy::is_unresolved(
            enforcement.waits != 0,
            false,
            full_since,
            enforcement.heartbeat,
            now,
        );
        if let Some(own) = maps::limiter(asker.context) {
            state = own;
        }
    }
    policy::decide(&policy, &question, &Limiter::new(state), &turn)
}

#[inline(always)]
fn count(asker: &Asker, kind: u8, verdict: &Verdict) {
    if verdict.contended {
        maps::count_loss(Loss::LimiterContended, 1);
    }
    if verdict.mode as u8 == Mode::Observe as u8 {
        return;
    }
    if let Some(vm) = maps::vm(asker.vm) {
        count_in(vm, kind, verdict.mode, verdict.decision);
    }
}

#[inline(always)]
fn count_in(vm: &mut Vm, kind: u8, mode: Mode, decision: Decision) {
    atomic::add(vm.decisions(kind).cell(mode, decision), 1);
    // Looked at first: the line stays shared between the CPUs.
    if vm.used != Used::Decided as u32 {
        vm.used = Used::Decided as u32;
    }
    if kind == Kind::TscInfo as u8 && decision as u8 == Decision::Admit as u8 {
        atomic::add(&mut vm.tsc_infos, 1);
    }
}

/// A request that the gate refuses is counted here, as nothing else will see its end.
#[inline(always)]
fn count_refusal(asker: &Asker, kind: u8, effect: Decision, now: u64) {
    let outcome = match effect {
        Decision::Admit => return,
        Decision::Deny => outcome::DENIED,
        Decision::Busy => outcome::BUSY,
    };
    if let Some(host) = maps::host() {
        atomic::add(host.message(kind).results.cell(outcome), 1);
    }
    if let Some(vm) = maps::vm(asker.vm) {
        atomic::add(vm.requests(kind).cell(outcome), 1);
        vm.last_request = now;
    }
}
