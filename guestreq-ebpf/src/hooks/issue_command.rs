//! # kprobe/sev_issue_cmd_external_user
//!
//! `(struct file *, unsigned int cmd, void *data, int *error)` in ccp: t1, every
//! guest request passes here, its header is final, and it queues for the PSP.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use guestreq_common::{command, hook::kprobe, request::Thread};

use crate::{entry, kernel, maps, threads};

#[kprobe]
pub fn on_issue_command(ctx: ProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::ISSUE_COMMAND);
    0
}

/// Of a thread that asked before.
#[kprobe]
pub fn issue_command(ctx: ProbeContext) -> u32 {
    if is_request(&ctx) {
        match threads::known(kernel::thread()) {
            Some(thread) => queue(&ctx, thread),
            None => entry::jump(&ctx, &maps::KPROBES, kprobe::ISSUE_COMMAND_SLOW),
        }
    }
    0
}

#[kprobe]
pub fn issue_command_slow(ctx: ProbeContext) -> u32 {
    if let Some(thread) = threads::waiting(kernel::thread()) {
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
    // Two calls for one request: a wrapper in front of ccp, as the gate, that calls it in turn.
    // The first one's time counts. A header that cannot be read is read again, and counted, once
    // the request has the PSP.
    if let Some((context, message)) = kernel::guest_request(ctx.arg(2).unwrap_or(0)) {
        threads::queue(thread, context, message);
    }
}
