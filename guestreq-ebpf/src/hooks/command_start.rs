//! # kprobe/__sev_do_cmd_locked
//!
//! `(int cmd, void *data, int *psp_ret)` in ccp: t2. Runs for every SEV and SNP command of the host,
//! which now has the PSP.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use aya_log_ebpf::warn;
use guestreq_common::{
    command,
    host::{Host, Loss},
    message::Summary,
    request::{Running, Thread},
    tail_calls::kprobe,
    units::{GuestContext, PidTgid},
    verifier::reload,
    vm::VmRef,
};

use crate::{atomic, decision, entry, kernel, maps, threads, verifier, vms};

#[kprobe]
pub fn on_command_start(ctx: ProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_START);
    0
}

/// A guest request that was seen to queue, of a known thread and VM.
#[kprobe]
pub fn command_start(ctx: ProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let started = match command(&ctx) {
        command::SNP_GUEST_REQUEST => start_request(&ctx, host),
        command::SNP_LAUNCH_UPDATE => start_page(&ctx, host),
        _ => false,
    };
    if !started {
        entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_START_SLOW);
    }
    0
}

/// False if it is anything else; then nothing was done.
#[inline(always)]
fn start_request(ctx: &ProbeContext, host: &mut Host) -> bool {
    let Host { commands, enforcement, dequeued, .. } = host;
    if commands.depth != 0 {
        return false;
    }
    let current = kernel::thread();
    let Some(thread) = threads::find_fast(current) else { return false };
    if !thread.is_queued() {
        return false;
    }
    // The thread may have run another VM last, or one whose slot was reused: the slow path looks.
    let Some(vm) = maps::vm(thread.vm) else { return false };
    if vm.context != thread.context {
        return false;
    }
    vm.runner = thread.tgid;
    let commands = verifier::near(commands);
    commands.depth = 1;
    let running = commands.begin(1, current, stack(ctx));
    running.command = command::SNP_GUEST_REQUEST;
    running.status_at = ctx.arg(2).unwrap_or(0);
    running.take_from(thread, kernel::now());
    atomic::add(dequeued, 1);
    let (decided, charged) = thread.take_decided();
    running.charged = charged as u32;
    if !decided && !decision::passes_at_psp(enforcement, vm, running) {
        entry::jump(ctx, &maps::KPROBES, kprobe::UNDECIDED);
    }
    true
}

/// The same for a page of a known VM's launch.
#[inline(always)]
fn start_page(ctx: &ProbeContext, host: &mut Host) -> bool {
    let commands = verifier::near(&mut host.commands);
    if commands.depth != 0 {
        return false;
    }
    let current = kernel::thread();
    let Some(thread) = threads::find_fast(current) else { return false };
    let Some(context) = kernel::read(ctx.arg(1).unwrap_or(0)) else { return false };
    let vm = vms::find(context);
    if maps::vm(vm).is_none() {
        return false;
    }
    commands.depth = 1;
    let running = commands.begin(1, current, stack(ctx));
    running.command = command::SNP_LAUNCH_UPDATE;
    running.status_at = ctx.arg(2).unwrap_or(0);
    running.started = kernel::now();
    running.context = context;
    running.vm = vm;
    running.queued = thread.take_launch().unwrap_or(running.started);
    true
}

#[kprobe]
pub fn command_start_slow(ctx: ProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let (thread, stack, command) = (kernel::thread(), stack(&ctx), command(&ctx));
    let data = ctx.arg(1).unwrap_or(0);
    let lost = host.commands.push(thread, stack);
    // Read from the record, where the verifier does not know it: it would walk what follows once per
    // known depth.
    let depth = reload(&host.commands.depth);
    let running = host.commands.begin(depth, thread, stack);
    if lost != 0 {
        maps::count_loss(Loss::CommandUnmatched, lost);
        if running.command == command::SNP_GUEST_REQUEST
            && let Some(vm) = maps::vm(running.vm)
        {
            vm.counters.forget(running.message.vmpck);
        }
        // The entry still holds the lost command.
        warn!(
            &ctx,
            "PSP command {:x} begins, and {:x} was not seen to return", command, running.command
        );
    }
    running.command = command;
    running.status_at = ctx.arg(2).unwrap_or(0);
    running.started = kernel::now();
    running.vm = if command::names_context(command) {
        running.context = kernel::read(data).unwrap_or(GuestContext::NONE);
        vms::of_command(&ctx, running.context, command, thread.tgid())
    } else if command::is_of_process(command) {
        vms::launched_by(thread.tgid())
    } else {
        VmRef::NONE
    };
    // Read again, so that the verifier walks what follows once, not once per known value.
    let command = reload(&running.command);
    if command == command::SNP_GUEST_REQUEST {
        if take_request(data, threads::find_for_psp(thread), running) {
            return 0;
        }
        // Another program: in this one the verifier would walk all its paths for each of these.
        entry::jump(&ctx, &maps::KPROBES, kprobe::UNDECIDED);
    } else if command::launches(command) {
        let queued = threads::find_own(thread).and_then(Thread::take_launch);
        running.queued = queued.unwrap_or(running.started);
    }
    0
}

#[kprobe]
pub fn undecided(ctx: ProbeContext) -> u32 {
    let thread = kernel::thread();
    let Some(running) = running(thread) else { return 0 };
    if maps::vm(running.vm).is_none() {
        maps::make_limiter(running.context, running.started);
        entry::jump(&ctx, &maps::KPROBES, kprobe::UNDECIDED_UNKNOWN);
    }
    if decision::at_psp::<true>(threads::is_known(thread), running) {
        entry::jump(&ctx, &maps::KPROBES, kprobe::HOLD);
    }
    0
}

/// Of a VM for which there was no slot.
#[kprobe]
pub fn undecided_unknown(ctx: ProbeContext) -> u32 {
    let thread = kernel::thread();
    if let Some(running) = running(thread)
        && decision::at_psp::<false>(threads::is_known(thread), running)
    {
        entry::jump(&ctx, &maps::KPROBES, kprobe::HOLD);
    }
    0
}

/// A refused request has the PSP anyway: stops its vCPU from running on.
#[kprobe]
pub fn hold(_ctx: ProbeContext) -> u32 {
    let thread = kernel::thread();
    if let Some(running) = running(thread) {
        decision::hold(threads::find_own(thread), running);
    }
    0
}

/// The command that this thread just began.
#[inline(always)]
fn running(thread: PidTgid) -> Option<&'static mut Running> {
    let running = maps::host()?.commands.top_of(thread)?;
    // SAFETY: the entry is in the host's record, of which other fields are written; the
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

/// The PSP takes a thread's request; whether it was decided before.
#[inline(always)]
fn take_request(data: u64, thread: Option<&mut Thread>, running: &mut Running) -> bool {
    if let Some(vm) = maps::vm(running.vm) {
        vm.runner = running.thread.tgid();
    }
    let Some(thread) = thread else {
        running.wants_lock = running.started;
        running.queued = running.started;
        read_header(data, running);
        return false;
    };
    thread.vm = running.vm;
    if !running.take_from(thread, running.started) {
        read_header(data, running);
    } else if let Some(host) = maps::host() {
        atomic::add(&mut host.dequeued, 1);
    }
    let (decided, charged) = thread.take_decided();
    running.charged = charged as u32;
    decided
}

#[inline(always)]
fn read_header(data: u64, running: &mut Running) {
    (running.context, running.message) = kernel::guest_request(data).unwrap_or_else(|| {
        maps::count_loss(Loss::HeaderUnreadable, 1);
        (GuestContext::NONE, Summary::UNKNOWN)
    });
}
