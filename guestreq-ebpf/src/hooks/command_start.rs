//! # kprobe/__sev_do_cmd_locked
//!
//! `(int cmd, void *data, int *psp_ret)` in ccp: t2, every SEV and SNP command of
//! the host, and this one has the PSP.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use aya_log_ebpf::warn;
use guestreq_common::{
    command,
    hook::kprobe,
    host::{Host, Loss},
    message::Summary,
    request::{Running, State, Thread},
    vm::VmRef,
};

use crate::{atomic, entry, kernel, maps, threads, verdict, verifier, vms};

#[kprobe]
pub fn on_command_start(ctx: ProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_START);
    0
}

/// A guest request that was seen to queue, of a thread and a VM that are known.
#[kprobe]
pub fn command_start(ctx: ProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    if !start_request(&ctx, host) {
        entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_START_SLOW);
    }
    0
}

/// False if it is something else, and nothing was done.
#[inline(always)]
fn start_request(ctx: &ProbeContext, host: &mut Host) -> bool {
    let Host { now, enforcement, dequeued, .. } = host;
    if command(ctx) != command::SNP_GUEST_REQUEST || now.depth != 0 {
        return false;
    }
    let current = kernel::thread();
    let Some(thread) = threads::known(current) else { return false };
    if thread.state != State::Queued as u32 {
        return false;
    }
    // It may have run another VM last, or one whose slot was given away: then its VM is looked for.
    let Some(vm) = maps::vm(thread.ran()) else { return false };
    if vm.context != thread.context {
        return false;
    }
    vm.runner = thread.tgid;
    let now = verifier::near(now);
    now.depth = 1;
    let running = now.begin(1, current, stack(ctx));
    running.command = command::SNP_GUEST_REQUEST;
    running.status_at = ctx.arg(2).unwrap_or(0);
    running.take_over(thread, kernel::now());
    atomic::add(dequeued, 1);
    if !thread.take_decided() && !verdict::passes_at_the_psp(enforcement, vm, running) {
        entry::jump(ctx, &maps::KPROBES, kprobe::UNDECIDED);
    }
    true
}

#[kprobe]
pub fn command_start_slow(ctx: ProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let (thread, stack, command) = (kernel::thread(), stack(&ctx), command(&ctx));
    let data = ctx.arg(1).unwrap_or(0);
    let lost = host.now.push(thread, stack);
    // Read from the record, where the verifier does not know it: of each depth that it knows it
    // would walk all of what follows.
    let depth = verifier::reload(&host.now.depth);
    let running = host.now.begin(depth, thread, stack);
    if lost != 0 {
        maps::count_loss(Loss::CommandUnmatched, lost);
        if running.command == command::SNP_GUEST_REQUEST
            && let Some(vm) = maps::vm(running.whose())
        {
            vm.counters.forget(running.message.vmpck);
        }
        // The entry is still the one that was lost.
        warn!(
            &ctx,
            "PSP command {:x} begins, and {:x} was not seen to return", command, running.command
        );
    }
    running.command = command;
    running.status_at = ctx.arg(2).unwrap_or(0);
    running.started = kernel::now();
    let vm = if command::names_context(command) {
        running.context = kernel::read(data).unwrap_or(0);
        vms::of_command(&ctx, running.context, command, (thread >> 32) as u32)
    } else if command::is_of_process(command) {
        vms::of_process((thread >> 32) as u32)
    } else {
        VmRef::NONE
    };
    (running.vm, running.generation) = (vm.slot, vm.generation);
    // Read anew, so that the verifier walks what follows once, and not for each value it knows.
    let command = verifier::reload(&running.command);
    if command == command::SNP_GUEST_REQUEST {
        if take_over(data, threads::waiting(thread), running) {
            return 0;
        }
        // A program of its own: in this one the verifier would walk all its ways for each of ours.
        entry::jump(&ctx, &maps::KPROBES, kprobe::UNDECIDED);
    }
    0
}

#[kprobe]
pub fn undecided(ctx: ProbeContext) -> u32 {
    let thread = kernel::thread();
    if let Some(running) = running(thread)
        && verdict::at_the_psp(threads::own(thread), running)
    {
        entry::jump(&ctx, &maps::KPROBES, kprobe::HOLD);
    }
    0
}

/// The request was refused, and has the PSP all the same: its vCPU is not to run on.
#[kprobe]
pub fn hold(_ctx: ProbeContext) -> u32 {
    let thread = kernel::thread();
    if let Some(running) = running(thread) {
        verdict::hold(threads::own(thread), running);
    }
    0
}

/// The command that this thread has just begun.
#[inline(always)]
fn running(thread: u64) -> Option<&'static mut Running> {
    let running = maps::host()?.now.top_of(thread)?;
    // SAFETY: the entry stands in the host's record, of which other fields are written; the
    // mutex keeps other commands away until this program has ended.
    Some(unsafe { &mut *(running as *mut Running) })
}

#[inline(always)]
fn command(ctx: &ProbeContext) -> u32 {
    ctx.arg::<u64>(0).unwrap_or(0) as u32
}

#[inline(always)]
fn stack(ctx: &ProbeContext) -> u64 {
    // SAFETY: a kprobe's context is the probed function's registers.
    unsafe { (*ctx.regs).rsp }
}

/// The PSP takes a thread's request over; whether it was decided before.
#[inline(always)]
fn take_over(data: u64, thread: Option<&mut Thread>, running: &mut Running) -> bool {
    if let Some(vm) = maps::vm(running.whose()) {
        vm.runner = (running.thread >> 32) as u32;
    }
    let Some(thread) = thread else {
        running.wants_lock = running.started;
        running.queued = running.started;
        read_header(data, running);
        return false;
    };
    thread.runs(running.whose());
    if !running.take_over(thread, running.started) {
        read_header(data, running);
    } else if let Some(host) = maps::host() {
        atomic::add(&mut host.dequeued, 1);
    }
    thread.take_decided()
}

#[inline(always)]
fn read_header(data: u64, running: &mut Running) {
    (running.context, running.message) = kernel::guest_request(data).unwrap_or_else(|| {
        maps::count_loss(Loss::HeaderUnreadable, 1);
        (0, Summary::UNKNOWN)
    });
}
