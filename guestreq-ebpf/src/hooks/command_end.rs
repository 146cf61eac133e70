//! # kretprobe/__sev_do_cmd_locked
//!
//! t3: the PSP has answered, and `sev_cmd_mutex` is still held, so that all that
//! is counted here is counted by one thread at a time. Return probes have few
//! instances (`kretprobe.maxactive`); behind this mutex two are enough.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::kretprobe, programs::RetProbeContext};
use aya_log_ebpf::warn;
use guestreq_common::{
    command::{SNP_DECOMMISSION, SNP_GUEST_REQUEST, SNP_LAUNCH_START},
    event::Event,
    hook::kprobe,
    host::{self, Host, Loss, Verdict},
    outcome,
    request::{Numbered, Running},
    sequence::{Anomaly, Context, Counters},
    vm::Vm,
};

use crate::{atomic, entry, kernel, maps, threads, verifier};

#[kretprobe]
pub fn on_command_end(ctx: RetProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_END);
    0
}

/// Counts it. What only some commands need is left to the second program.
#[kretprobe]
pub fn command_end(ctx: RetProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let now = kernel::now();
    if let Some(running) = verifier::near(&mut host.now).pop(kernel::thread()) {
        let ret = ctx.ret::<u64>() as i32;
        let status = if ret == 0 { 0 } else { kernel::read(running.status_at).unwrap_or(0u32) };
        (running.ended, running.ret) = (now, ret);
        running.numbered = Numbered::NotYet as u32;
        let outcome = outcome::of_command(ret, status);
        let outcome = verifier::forget(&mut running.outcome, outcome.into()) as u8;
        // SAFETY: the entry stands in the host's record, of which `finish` writes other fields;
        // the mutex keeps other commands away until this program has ended.
        let running = unsafe { &mut *(running as *mut Running) };
        let mut vm = maps::vm(running.vm, running.generation);
        let verdict = host.finish(vm.as_deref_mut(), running, now, ret, outcome);
        if is_done(host, vm, running, &verdict) {
            host.now.counted();
            return 0;
        }
    } else if host.now.depth == 0 {
        // It began before we were there.
        return 0;
    }
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_END_SLOW);
    0
}

/// Whether that was all; if it was a guest request whose number is at hand, judges that, too.
#[inline(always)]
fn is_done(host: &Host, vm: Option<&mut Vm>, running: &mut Running, verdict: &Verdict) -> bool {
    match running.command {
        SNP_GUEST_REQUEST => {}
        SNP_LAUNCH_START | SNP_DECOMMISSION => return running.ret != 0,
        _ => return true,
    }
    if verdict.outcome == outcome::HOST_ERROR || running.context == 0 {
        return false;
    }
    let Some(vm) = vm else { return false };
    let succeeded = verdict.outcome == outcome::OK;
    let Some(numbered) = vm.judge(running.context, &running.message, succeeded) else {
        return false;
    };
    running.numbered = numbered as u32;
    numbered as u32 == Numbered::Right as u32 && host::worth_telling(host, verdict).is_none()
}

#[kretprobe]
pub fn command_end_slow(ctx: RetProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let Some(running) = host.now.popped(kernel::thread()) else {
        // Its start was missed.
        maps::count_loss(Loss::CommandUnmatched, 1);
        let holder = host.now.running[0].command;
        warn!(&ctx, "a PSP command returns that was not seen to begin, during {:x}", holder);
        return 0;
    };
    // SAFETY: as in `command_end`; here nothing of it is written.
    let running = unsafe { &*(running as *const Running) };
    match running.command {
        SNP_GUEST_REQUEST => {
            let outcome = running.outcome as u8;
            if outcome == outcome::HOST_ERROR {
                threads::count_host_error(running.vm, running.generation, running.message.kind);
            }
            let anomaly = match running.numbered {
                REPLAY => Some(Anomaly::Replay),
                GAP => Some(Anomaly::Gap),
                NOT_YET if running.context != 0 => check_sequence(running, outcome),
                _ => None,
            };
            tell(host, running, &Verdict { outcome, anomaly, stages: running.stages() });
        }
        SNP_LAUNCH_START => launched(running),
        SNP_DECOMMISSION => retired(running),
        _ => {}
    }
    host.now.counted();
    0
}

const NOT_YET: u32 = Numbered::NotYet as u32;
const REPLAY: u32 = Numbered::Replay as u32;
const GAP: u32 = Numbered::Gap as u32;

#[inline(always)]
fn check_sequence(running: &Running, outcome: u8) -> Option<Anomaly> {
    let message = &running.message;
    let succeeded = outcome == outcome::OK;
    let Some(vm) = maps::vm(running.vm, running.generation) else {
        return elsewhere(None, running)?.check(message.vmpck, message.seqno, succeeded);
    };
    let counters = match vm.counters(running.context) {
        Some(counters) => counters,
        None => elsewhere(Some(vm), running)?,
    };
    let anomaly = counters.check(message.vmpck, message.seqno, succeeded);
    if let Some(vm) = maps::vm(running.vm, running.generation) {
        vm.count_anomaly(anomaly);
    }
    anomaly
}

/// The counters of a guest context that the VM's record does not have: one that was there
/// before us, or one too many.
#[inline(always)]
fn elsewhere(vm: Option<&mut Vm>, running: &Running) -> Option<&'static mut Counters> {
    if maps::CONTEXTS.get_ptr(running.context).is_none() {
        remember(running, vm, Counters::found());
    }
    // SAFETY: contexts are written and removed under sev_cmd_mutex only.
    maps::CONTEXTS.get_ptr_mut(running.context).map(|context| unsafe { &mut (*context).counters })
}

/// Notes whose a guest context is, in the VM's record where there is room.
#[inline(always)]
fn remember(running: &Running, vm: Option<&mut Vm>, counters: Counters) {
    let (vm_slot, generation) = (running.vm, running.generation);
    let context = Context { vm: vm_slot, generation, counters };
    if maps::CONTEXTS.insert(running.context, context, BPF_NOEXIST.into()).is_err() {
        return maps::count_loss(Loss::ContextTableFull, 1);
    }
    if let Some(host) = maps::host() {
        atomic::add(&mut host.contexts, 1);
    }
    if let Some(vm) = vm {
        vm.welcome(running.context, counters);
    }
}

#[inline(always)]
fn forget(address: u64) {
    if maps::CONTEXTS.remove(address).is_ok()
        && let Some(host) = maps::host()
    {
        atomic::decrement(&mut host.contexts);
    }
}

/// A guest context begins: its counters stand at zero.
#[inline(always)]
fn launched(running: &Running) {
    // An older one at this address ended unseen.
    forget(running.context);
    let mut vm = maps::vm(running.vm, running.generation);
    remember(running, vm.as_deref_mut(), Counters::launched());
    if let Some(vm) = vm {
        atomic::add(&mut vm.contexts_launched, 1);
    }
}

/// A guest context ends. KVM decommissions it from a kernel thread, so the VM is
/// known by the context alone.
#[inline(always)]
fn retired(running: &Running) {
    if let Some(context) = maps::CONTEXTS.get_ptr(running.context) {
        // SAFETY: as in check_sequence.
        let (vm, generation) = unsafe { ((*context).vm, (*context).generation) };
        if let Some(vm) = maps::vm(vm, generation) {
            vm.dismiss(running.context);
            atomic::add(&mut vm.contexts_retired, 1);
        }
    }
    forget(running.context);
}

#[inline(always)]
fn tell(host: &Host, running: &Running, verdict: &Verdict) {
    let Some(kind) = host::worth_telling(host, verdict) else { return };
    maps::tell(Event {
        time: running.ended,
        seqno: running.message.seqno,
        stage_ns: verdict.stages.ns,
        tgid: (running.thread >> 32) as u32,
        vm: running.vm,
        generation: running.generation,
        ret: running.ret,
        kind: kind as u8,
        message_type: running.message.message_type,
        vmpck: running.message.vmpck,
        outcome: verdict.outcome,
        reserved: 0,
    });
}
