//! # kretprobe/__sev_do_cmd_locked
//!
//! t3: the PSP has answered, and `sev_cmd_mutex` is still held, so that all that
//! is counted here is counted by one thread at a time. Return probes have few
//! instances (`kretprobe.maxactive`); behind this mutex two are enough.

use aya_ebpf::{macros::kretprobe, programs::RetProbeContext};
use aya_log_ebpf::warn;
use guestreq_common::{
    command::{SNP_DECOMMISSION, SNP_GCTX_CREATE, SNP_GUEST_REQUEST, SNP_LAUNCH_START},
    event::Event,
    hook::kprobe,
    host::{self, Host, Loss, Verdict},
    outcome,
    request::{Numbered, Running},
    sequence::Anomaly,
    vm::{Used, Vm},
};

use crate::{entry, kernel, maps, threads, verifier, vms};

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
        let mut vm = maps::vm(running.whose());
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
        SNP_LAUNCH_START | SNP_DECOMMISSION | SNP_GCTX_CREATE => return false,
        _ => return true,
    }
    // Without a record, or a header that could be read, there is nothing to compare a number with.
    if verdict.outcome == outcome::HOST_ERROR || running.context == 0 {
        return false;
    }
    let Some(vm) = vm else { return false };
    let numbered = vm.judge(&running.message, verdict.outcome == outcome::OK) as u32;
    running.numbered = numbered;
    numbered == Numbered::Right as u32 && host::worth_telling(host, verdict).is_none()
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
                threads::count_host_error(running.whose(), running.message.kind);
            }
            let anomaly = match running.numbered {
                REPLAY => Some(Anomaly::Replay),
                GAP => Some(Anomaly::Gap),
                _ => None,
            };
            tell(host, running, &Verdict { outcome, anomaly, stages: running.stages() });
        }
        _ => follow_life(running),
    }
    host.now.counted();
    0
}

const REPLAY: u32 = Numbered::Replay as u32;
const GAP: u32 = Numbered::Gap as u32;

/// A guest context is launched; or it ends, or never came about. KVM decommissions it from a
/// kernel thread, and never uses it again even if the PSP refuses.
#[inline(always)]
fn follow_life(running: &Running) {
    let Some(vm) = maps::vm(running.whose()) else { return };
    let succeeded = running.ret == 0;
    match running.command {
        SNP_LAUNCH_START if succeeded => vm.used = Used::Launched as u32,
        SNP_GCTX_CREATE if !succeeded => vms::end(running.whose(), vm, running.context),
        SNP_DECOMMISSION => vms::end(running.whose(), vm, running.context),
        _ => {}
    }
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
