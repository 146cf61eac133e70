//! # kprobe/sev_issue_cmd_external_user
//!
//! `(struct file *, unsigned int cmd, void *data, int *error)` in ccp: t1. Every guest request passes
//! here; its header is final, and it queues for the PSP. So does every command of a launch.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use guestreq_common::{command, request::Thread, tail_calls::kprobe};

use crate::{entry, kernel, maps, threads};

#[kprobe]
pub fn on_issue_command(ctx: ProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::ISSUE_COMMAND);
    0
}

/// For a known thread.
#[kprobe]
pub fn issue_command(ctx: ProbeContext) -> u32 {
    let command = command(&ctx);
    let is_request = command == command::SNP_GUEST_REQUEST;
    if is_request || command::launches(command) {
        match threads::find_fast(kernel::thread()) {
            Some(thread) if is_request => queue(&ctx, thread),
            Some(thread) => queue_launch(thread),
            None => entry::jump(&ctx, &maps::KPROBES, kprobe::ISSUE_COMMAND_SLOW),
        }
    }
    0
}

#[kprobe]
pub fn issue_command_slow(ctx: ProbeContext) -> u32 {
    let current = kernel::thread();
    if command(&ctx) != command::SNP_GUEST_REQUEST {
        if let Some(thread) = threads::find_or_make(current) {
            queue_launch(thread);
        }
    } else if let Some(thread) = threads::find_for_psp(current) {
        queue(&ctx, thread);
    }
    0
}

#[inline(always)]
fn command(ctx: &ProbeContext) -> u32 {
    ctx.arg::<u64>(1).unwrap_or(0) as u32
}

/// A wrapper of this function makes two calls per command: the last one counts, microseconds later.
/// So nothing is left of a command that failed before it had the PSP.
#[inline(always)]
fn queue_launch(thread: &mut Thread) {
    thread.launch_queued = kernel::now();
}

#[inline(always)]
fn queue(ctx: &ProbeContext, thread: &mut Thread) {
    // A wrapper of this function, such as the gate, makes two calls per request: the first counts. An
    // unreadable header is read again, and counted, once the request has the PSP.
    if let Some((context, message)) = kernel::guest_request(ctx.arg(2).unwrap_or(0)) {
        threads::queue(thread, context, message);
    }
}
