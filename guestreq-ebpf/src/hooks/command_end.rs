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
    message::Kind,
    outcome,
    request::Running,
    sequence::{Anomaly, Context, Counters},
    vm::Vm,
};

use crate::{atomic, entry, kernel, maps, threads};

#[kretprobe]
pub fn on_command_end(ctx: RetProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_END);
    0
}

#[kretprobe]
pub fn command_end(ctx: RetProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let now = kernel::now();
    let depth = host.now.depth;
    let Some(running) = host.now.pop(kernel::thread()) else {
        // It began before we were there, or its start was missed.
        if depth != 0 {
            maps::count_loss(Loss::CommandUnmatched, 1);
            let holder = host.now.running[0].command;
            warn!(&ctx, "a PSP command returns that was not seen to begin, during {:x}", holder);
        }
        return 0;
    };
    let ret = ctx.ret::<u64>() as i32;
    let status = if ret == 0 { 0 } else { kernel::read(running.status_at).unwrap_or(0u32) };
    // Not known to the verifier: of each one that it knows it would walk all of what follows.
    let outcome = atomic::forget(&mut running.aside, outcome::of_command(ret, status).into()) as u8;
    // SAFETY: the entry stands in the host's record, of which `finish` writes other fields; the
    // mutex keeps other commands away until this program has ended.
    let running = unsafe { &*(running as *const Running) };
    let mut vm = maps::vm(running.vm, running.generation);
    let mut verdict = host.finish(vm.as_deref_mut(), running, now, ret, outcome);
    match running.command {
        SNP_GUEST_REQUEST => {
            if verdict.outcome == outcome::HOST_ERROR {
                let kind = Kind::index_of(running.header.message_type);
                threads::count_host_error(running.vm, running.generation, kind);
            }
            if running.context != 0 {
                verdict.anomaly = check_sequence(vm, running, verdict.outcome);
            }
            tell(host, running, now, ret, &verdict);
        }
        SNP_LAUNCH_START if ret == 0 => launched(running),
        SNP_DECOMMISSION if ret == 0 => retired(running),
        _ => {}
    }
    host.now.counted();
    0
}

#[inline(always)]
fn check_sequence(vm: Option<&mut Vm>, running: &Running, outcome: u8) -> Option<Anomaly> {
    let header = &running.header;
    let succeeded = outcome == outcome::OK;
    let Some(vm) = vm else {
        return elsewhere(None, running)?.check(header.vmpck, header.seqno, succeeded);
    };
    let anomaly = match vm.counters(running.context) {
        Some(counters) => counters.check(header.vmpck, header.seqno, succeeded),
        None => elsewhere(Some(vm), running)?.check(header.vmpck, header.seqno, succeeded),
    }?;
    vm.anomalies[anomaly as usize & 1] += 1;
    Some(anomaly)
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
fn tell(host: &Host, running: &Running, now: u64, ret: i32, verdict: &Verdict) {
    let Some(kind) = host::worth_telling(host, verdict) else { return };
    maps::tell(Event {
        time: now,
        seqno: running.header.seqno,
        stage_ns: verdict.stages.ns,
        tgid: (running.thread >> 32) as u32,
        vm: running.vm,
        generation: running.generation,
        ret,
        kind: kind as u8,
        message_type: running.header.message_type,
        vmpck: running.header.vmpck,
        outcome: verdict.outcome,
        reserved: 0,
    });
}
