//! # kprobe/__sev_do_cmd_locked
//!
//! `(int cmd, void *data, int *psp_ret)` in ccp: t2, every SEV and SNP command of
//! the host, and this one has the PSP.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use aya_log_ebpf::warn;
use guestreq_common::{
    command::{self, Class},
    hook::kprobe,
    host::Loss,
    message,
    request::{Running, State},
};

use crate::{atomic, entry, kernel, maps, threads, verdict};

#[kprobe]
pub fn on_command_start(ctx: ProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::COMMAND_START);
    0
}

#[kprobe]
pub fn command_start(ctx: ProbeContext) -> u32 {
    let Some(host) = maps::host() else { return 0 };
    let thread = kernel::thread();
    // SAFETY: a kprobe's context is the probed function's registers.
    let stack = unsafe { (*ctx.regs).rsp };
    let command = ctx.arg::<u64>(0).unwrap_or(0) as u32;
    let data = ctx.arg(1).unwrap_or(0);
    let lost = host.now.push(thread, stack);
    // Read from the record, where the verifier does not know it: of each depth that it knows it
    // would walk all of what follows.
    let depth = atomic::reload(&host.now.depth);
    let running = host.now.begin(depth, thread, stack);
    if lost != 0 {
        maps::count_loss(Loss::CommandUnmatched, lost);
        // The entry is still the one that was lost.
        warn!(
            &ctx,
            "PSP command {:x} begins, and {:x} was not seen to return", command, running.command
        );
    }
    running.command = command;
    running.status_at = ctx.arg(2).unwrap_or(0);
    let mut decided = true;
    if command == command::SNP_GUEST_REQUEST {
        decided = take_over(&ctx, data, running);
    } else {
        // A launch is the first that is seen of a VM; other commands make no VM.
        let launch = Class::of(command) as u8 == Class::Launch as u8;
        let tgid = (thread >> 32) as u32;
        (running.vm, running.generation) = threads::vm_of_process(&ctx, tgid, launch);
        if command == command::SNP_LAUNCH_START || command == command::SNP_DECOMMISSION {
            // Both commands' data begins with the context's address.
            running.context = kernel::read(data).unwrap_or(0);
        }
        running.started = kernel::now();
    }
    if !decided {
        // A program of its own: in this one the verifier would walk all its ways for each of ours.
        entry::jump(&ctx, &maps::KPROBES, kprobe::UNDECIDED);
    }
    0
}

#[kprobe]
pub fn undecided(_ctx: ProbeContext) -> u32 {
    let thread = kernel::thread();
    if let Some(host) = maps::host()
        && let Some(running) = host.now.top_of(thread)
    {
        // SAFETY: the entry stands in the host's record, of which other fields are written; the
        // mutex keeps other commands away until this program has ended.
        let running = unsafe { &*(running as *const Running) };
        verdict::at_the_psp(threads::find(thread), running);
    }
    0
}

/// The PSP takes a thread's request over; whether it was decided before.
#[inline(always)]
fn take_over(ctx: &ProbeContext, data: u64, running: &mut Running) -> bool {
    let now = kernel::now();
    running.started = now;
    running.wants_lock = now;
    running.queued = now;
    let Some(thread) = threads::find_or_make(ctx, running.thread) else {
        (running.vm, running.generation) =
            threads::vm_of_process(ctx, (running.thread >> 32) as u32, false);
        read_header(data, running);
        return false;
    };
    running.vm = thread.vm;
    running.generation = thread.generation;
    let state = thread.state;
    thread.state = State::Idle as u32;
    let decided = thread.take_decided();
    if state != State::Idle as u32 {
        running.wants_lock = thread.wants_lock;
    }
    if state == State::Queued as u32 {
        running.queued = thread.queued;
        running.context = thread.context;
        running.header = thread.header;
        if let Some(host) = maps::host() {
            atomic::add(&mut host.dequeued, 1);
        }
    } else {
        // Nothing saw it queue.
        read_header(data, running);
    }
    decided
}

#[inline(always)]
fn read_header(data: u64, running: &mut Running) {
    let (context, header) = kernel::guest_request(data).unwrap_or_else(|| {
        maps::count_loss(Loss::HeaderUnreadable, 1);
        (0, message::Header::default())
    });
    running.context = context;
    running.header = header;
}
