//! # kretprobe/__sev_do_cmd_locked
//!
//! t3: the PSP has answered. `sev_cmd_mutex` is still held, so one thread at a time counts here.
//! Return probes have few instances (`kretprobe.maxactive`); under this mutex two suffice.

use aya_ebpf::{macros::kretprobe, programs::RetProbeContext};
use aya_log_ebpf::warn;
use guestreq_common::{
    command::{
        self, SNP_DECOMMISSION, SNP_GCTX_CREATE, SNP_GUEST_REQUEST, SNP_LAUNCH_FINISH,
        SNP_LAUNCH_START, SNP_LAUNCH_UPDATE,
    },
    event::Event,
    host::{self, Completion, Host, Loss},
    outcome::Outcome,
    request::{Running, SequenceCheck},
    tail_calls::kprobe,
    verifier::forget,
    vm::{ContextUse, Vm},
};

use crate::{decision, entry, kernel, maps, threads, verifier, vms};

#[kretprobe]
pub fn on_command_end(ctx: RetProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_END);
    0
}

/// Counts the command. The slow path does what only some commands need.
#[kretprobe]
pub fn command_end(ctx: RetProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let now = kernel::now();
    if let Some(running) = verifier::near(&mut host.commands).pop(kernel::thread()) {
        let ret = ctx.ret::<u64>() as i32;
        let status = if ret == 0 { 0 } else { kernel::read(running.status_at).unwrap_or(0u32) };
        (running.ended, running.ret) = (now, ret);
        running.sequence = SequenceCheck::Unchecked as u32;
        let outcome = u32::from(Outcome::of_command(ret, status).0);
        let outcome = Outcome(forget(&mut running.outcome, outcome) as u8);
        // SAFETY: the entry is in the host's record, of which `finish` writes other fields;
        // the mutex keeps other commands away until this program has ended.
        let running = unsafe { &mut *(running as *mut Running) };
        let mut vm = maps::vm(running.vm);
        let completion = host.finish(vm.as_deref_mut(), running, now, ret, outcome);
        if is_done(host, vm, running, &completion) {
            host.commands.counted();
            return 0;
        }
    } else if host.commands.depth == 0 {
        // It began before this was attached.
        return 0;
    }
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_END_SLOW);
    0
}

/// Whether nothing is left for the slow path. Checks the sequence number of a guest request, if it
/// is known.
#[inline(always)]
fn is_done(
    host: &mut Host,
    vm: Option<&mut Vm>,
    running: &mut Running,
    completion: &Completion,
) -> bool {
    match running.command {
        SNP_GUEST_REQUEST => {}
        SNP_LAUNCH_UPDATE => {
            let Some(vm) = vm.filter(|vm| vm.launch.is_running()) else { return false };
            host.advance_launch(vm, running);
            return true;
        }
        number => return number != SNP_DECOMMISSION && !command::launches(number),
    }
    // Without a record or a readable header there is nothing to compare with.
    if !completion.outcome.is_answered() || running.context.is_none() {
        return false;
    }
    let Some(vm) = vm else { return false };
    let succeeded = completion.outcome == Outcome::OK;
    let sequence = vm.check_sequence(&running.message, succeeded) as u32;
    running.sequence = sequence;
    let waiting = &vm.limiter.waiting;
    sequence == SequenceCheck::InOrder as u32
        && !waiting.any()
        && waiting.lost == 0
        && running.charged == 0
        && host::event_of(host, completion).is_none()
}

#[kretprobe]
pub fn command_end_slow(ctx: RetProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let Some(running) = host.commands.popped(kernel::thread()) else {
        // Its start was missed.
        maps::count_loss(Loss::CommandUnmatched, 1);
        let holder = host.commands.running[0].command;
        warn!(&ctx, "a PSP command ended whose start was missed; running: {:x}", holder);
        return 0;
    };
    // SAFETY: as in `command_end`; read-only here.
    let running = unsafe { &*(running as *const Running) };
    match running.command {
        SNP_GUEST_REQUEST => {
            let outcome = Outcome(running.outcome as u8);
            if outcome.is_answered() {
                decision::answered(running, outcome);
            } else {
                threads::count_host_error(running.vm, running.message.row);
            }
            if running.charged != 0 {
                decision::charge(running);
            }
            let (anomaly, stages) = (running.anomaly(), running.stages());
            report(host, running, &Completion { outcome, anomaly, stages });
        }
        _ => update_life(host, running),
    }
    host.commands.counted();
    0
}

/// A guest context was created, launched, or ended. KVM decommissions it in whichever thread drops
/// the VM's last reference, and never uses it again even if the PSP refuses.
#[inline(always)]
fn update_life(host: &mut Host, running: &Running) {
    let Some(vm) = maps::vm(running.vm) else {
        if running.command == SNP_GCTX_CREATE && running.ret != 0 {
            maps::forget_limiter(running.context);
        }
        return;
    };
    if command::launches(running.command) {
        host.advance_launch(vm, running);
    }
    let succeeded = running.ret == 0;
    match running.command {
        SNP_LAUNCH_START if succeeded => vm.used = ContextUse::Launched as u32,
        SNP_LAUNCH_FINISH if vm.launch.ended_at(running.ended) => {
            vms::record_launch(running.vm, vm);
        }
        SNP_GCTX_CREATE if !succeeded => vms::end(running.vm, vm, running.context),
        SNP_DECOMMISSION => {
            if running.thread.tgid() == vm.tgid && threads::is_last(kernel::task()) {
                // Its process exits, which closes all its VMs.
                vm.launch.process_exited = 1;
            }
            vms::end(running.vm, vm, running.context);
        }
        _ => {}
    }
}

#[inline(always)]
fn report(host: &Host, running: &Running, completion: &Completion) {
    let Some(kind) = host::event_of(host, completion) else { return };
    maps::report(Event {
        time: running.ended,
        seqno: running.message.seqno,
        stage_ns: completion.stages.ns,
        tgid: running.thread.tgid(),
        vm: running.vm,
        ret: running.ret,
        kind: kind as u8,
        message_type: running.message.message_type,
        vmpck: running.message.vmpck,
        outcome: completion.outcome,
        ..Event::default()
    });
}
