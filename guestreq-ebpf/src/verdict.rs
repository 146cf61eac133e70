//! # Deciding a request
//!
//! Once: when the gate asks; where no gate asks, once the request has the PSP.
//! What is decided is guestreq-common's `policy::decide`; here is where its
//! inputs stand, and what is done about the answer.

mod tell;
mod vcpu;

use aya_ebpf::{EbpfContext, bindings::BPF_NOEXIST};
use guestreq_common::{
    gcra::Turn,
    host::{Enforcement, Host, Loss},
    message::{Header, Kind},
    outcome,
    policy::{self, Backend, Decision, Mode, Policy, Question, Verdict},
    request::{Decided, Running, STOPPED, State, Thread},
    vm::Vm,
};
use tell::{tell, tell_bypass};
use vcpu::{STRETCH_NS, hold};
pub use vcpu::{may_begin, may_run};

use crate::{
    atomic::{self, Limiter},
    kernel, maps, threads,
};

/// What is to be known of who asks.
struct Asker {
    vm: u32,
    generation: u32,
    tgid: u32,
}

/// The gate asks: what becomes of the current thread's request, whose header is this.
#[inline(always)]
pub fn at_the_gate<C: EbpfContext>(
    ctx: &C,
    thread: Option<&mut Thread>,
    tgid: u32,
    header: Header,
) -> Decision {
    let Some(host) = maps::host() else { return Decision::Admit };
    let now = kernel::now();
    let (vm, generation) = match &thread {
        Some(thread) => (thread.vm, thread.generation),
        // No room for the thread; its VM may have a policy all the same.
        None => threads::vm_of_process(ctx, tgid, false),
    };
    let asker = Asker { vm, generation, tgid };
    let kind = Kind::index_of(header.message_type);
    let verdict = decide(host, &asker, kind, now, false);
    count(&asker, kind, &verdict);
    let effect = verdict.effect();
    tell(host.tell_all != 0, &asker, &header, &verdict, now);
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

/// A request has the PSP, and nobody has decided it; or there was no room for the thread's
/// record, so that it is not known.
#[inline(always)]
pub fn at_the_psp(thread: Option<&mut Thread>, running: &Running) {
    let Some(host) = maps::host() else { return };
    let enforcement = &host.enforcement;
    if thread.is_none() && enforcement.gate_file != 0 {
        // There is a gate, which has asked without a record, too.
        return;
    }
    let asker = Asker {
        vm: running.vm,
        generation: running.generation,
        tgid: (running.thread >> 32) as u32,
    };
    let armed = enforcement.armed_at;
    if armed != 0 && running.queued > armed {
        host.totals.bypassed += 1;
        tell_bypass(&asker, &running.header, running.started);
    }
    let kind = Kind::index_of(running.header.message_type);
    let held = enforcement.backend == Backend::Vcpu as u64;
    let now = running.started;
    let mut verdict = decide(host, &asker, kind, now, held);
    if held && verdict.mode as u8 == Mode::Enforce as u8 {
        count(&asker, kind, &verdict);
        // Each of them reaches the PSP, and is told at its end.
        tell(false, &asker, &running.header, &verdict, now);
        if verdict.decision as u8 != Decision::Admit as u8 {
            let until = match verdict.decision {
                Decision::Deny => STOPPED,
                // Not yet known which policy is its: as long as may be.
                _ if verdict.until == 0 => now + STRETCH_NS,
                _ => verdict.until.min(now + STRETCH_NS),
            };
            hold(&asker, thread, until, &running.header, now);
        }
    } else if verdict.mode as u8 != Mode::Observe as u8 {
        // Nothing carries it out.
        verdict.mode = Mode::Audit;
        count(&asker, kind, &verdict);
    }
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
    let Host { enforcement, turn, service_ns, .. } = host;
    let turn = Turn { next: &Limiter::new(turn), spacing_ns: *service_ns };
    let mut question = Question { kind, now, tsc_infos: 0, unresolved: false, spent };
    if let Some(vm) = maps::vm(asker.vm, asker.generation) {
        let (policy, own) = own_or_default(vm, enforcement);
        question.tsc_infos = vm.tsc_infos;
        question.unresolved = policy::is_unresolved(
            enforcement.waits != 0,
            own,
            vm.first_seen,
            enforcement.heartbeat,
            now,
        );
        return policy::decide(&policy, &question, &Limiter::new(&mut vm.limiter), &turn);
    }
    // More VMs than room: the default applies, and each process has a limiter of its own. Its
    // first TSC_INFOs cannot be counted, so that none is free.
    question.tsc_infos = policy::FREE_TSC_INFOS;
    if maps::LIMITERS.get_ptr(asker.tgid).is_none() {
        let _ = maps::LIMITERS.insert(asker.tgid, 0, BPF_NOEXIST.into());
    }
    // Without room for even that, over every limit.
    let mut nothing = u64::MAX;
    let state = match maps::LIMITERS.get_ptr_mut(asker.tgid) {
        // SAFETY: an element of a map; its memory stays a u64 even if it is given to another key.
        Some(state) => unsafe { &mut *state },
        None => &mut nothing,
    };
    policy::decide(&enforcement.policy, &question, &Limiter::new(state), &turn)
}

#[inline(always)]
fn count(asker: &Asker, kind: u8, verdict: &Verdict) {
    if verdict.contended {
        maps::count_loss(Loss::LimiterContended, 1);
    }
    if verdict.mode as u8 == Mode::Observe as u8 {
        return;
    }
    let Some(vm) = maps::vm(asker.vm, asker.generation) else { return };
    atomic::add(vm.decisions(kind).cell(verdict), 1);
    if kind == Kind::TscInfo as u8 && verdict.decision as u8 == Decision::Admit as u8 {
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
    if let Some(vm) = maps::vm(asker.vm, asker.generation) {
        atomic::add(vm.requests(kind).cell(outcome), 1);
        vm.last_request = now;
    }
}
