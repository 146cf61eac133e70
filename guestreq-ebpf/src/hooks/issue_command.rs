//! # kprobe/sev_issue_cmd_external_user
//!
//! `(struct file *, unsigned int cmd, void *data, int *error)` in ccp: t1. Every guest request passes
//! here; its header is final, and it queues for the PSP.

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
    if is_request(&ctx) {
        match threads::find_fast(kernel::thread()) {
            Some(thread) => queue(&ctx, thread),
            None => entry::jump(&ctx, &maps::KPROBES, kprobe::ISSUE_COMMAND_SLOW),
        }
    }
    0
}

#[kprobe]
pub fn issue_command_slow(ctx: ProbeContext) -> u32 {
    if let Some(thread) = threads::find_for_psp(kernel::thread()) {
        queue(&ctx, thread);
    }
    0
}

#[inline(always)]
fn is_request(ctx: &ProbeContext) -> bool {
    ctx.arg::<u64>(1).unwrap_or(0) as u32 == command::SNP_GUEST_REQUEST
}

#[inline(always)]
fn queue(ctx: &ProbeContext, thread: &mut Thread) {
    // A wrapper of this function, such as the gate, makes two calls per request: the first counts. An
    // unreadable header is read again, and counted, once the request has the PSP.
    if let Some((context, message)) = kernel::guest_request(ctx.arg(2).unwrap_or(0)) {
        threads::queue(thread, context, message);
    }
}
