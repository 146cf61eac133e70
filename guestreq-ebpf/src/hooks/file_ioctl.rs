//! # lsm/file_ioctl and lsm/file_ioctl_compat
//!
//! `(struct file *, unsigned int cmd, unsigned long arg)`, for every ioctl(2) of
//! every process, with whatever pointer it likes; the second for 32-bit ones.
//! Two are ours: the gate's question, known by a file that nobody else holds and
//! a number that nobody else knows; and KVM_RUN, where a vCPU may be held.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use guestreq_common::{
    gate, hook,
    message::{HEADER_OFFSET, Header},
    policy::Decision,
};

use crate::{entry, kernel, maps, threads, verdict};

/// `_IO(KVMIO, 0x80)`
const KVM_RUN: u32 = 0xae80;

#[lsm(hook = "file_ioctl")]
pub fn on_file_ioctl(ctx: LsmContext) -> i32 {
    if is_ours(&ctx) {
        entry::jump(&ctx, &maps::IOCTLS, hook::lsm::FILE_IOCTL);
    }
    0
}

#[lsm(hook = "file_ioctl_compat")]
pub fn on_ioctl_compat(ctx: LsmContext) -> i32 {
    if is_ours(&ctx) {
        entry::jump(&ctx, &maps::IOCTLS_COMPAT, hook::lsm::FILE_IOCTL);
    }
    0
}

#[lsm(hook = "file_ioctl")]
pub fn file_ioctl(ctx: LsmContext) -> i32 {
    answer(&ctx)
}

/// The gate asks in the kernel, never here.
#[lsm(hook = "file_ioctl_compat")]
pub fn ioctl_compat(ctx: LsmContext) -> i32 {
    if ctx.arg::<u32>(1) == KVM_RUN { run(&ctx) } else { 0 }
}

#[inline(always)]
fn is_ours(ctx: &LsmContext) -> bool {
    let command: u32 = ctx.arg(1);
    command == gate::ASK || command == KVM_RUN
}

#[inline(always)]
fn answer(ctx: &LsmContext) -> i32 {
    if ctx.arg::<u32>(1) == KVM_RUN {
        return run(ctx);
    }
    let Some(host) = maps::host() else { return 0 };
    let (file, question): (u64, u64) = (ctx.arg(0), ctx.arg(2));
    let enforcement = &mut host.enforcement;
    if enforcement.challenge != 0 && question == enforcement.challenge {
        enforcement.self_test = question;
        return gate::DENY;
    }
    if enforcement.gate_file == 0 || file != enforcement.gate_file {
        return 0;
    }
    let Some([cookie, nonce, _context]) = kernel::read::<[u64; 3]>(question) else { return 0 };
    // A file of somebody else's may stand where the gate's stood once.
    if cookie != enforcement.gate_cookie {
        return 0;
    }
    if nonce != 0 {
        enforcement.self_test = nonce;
        return gate::DENY;
    }
    const HEADER_AT: u64 = core::mem::offset_of!(gate::Question, header) as u64 + HEADER_OFFSET;
    let Some(header) = kernel::read::<Header>(question.wrapping_add(HEADER_AT)) else { return 0 };
    let thread = kernel::thread();
    let tgid = (thread >> 32) as u32;
    match verdict::at_the_gate(ctx, threads::find_or_make(ctx, thread), tgid, header) {
        Decision::Admit => gate::ADMIT,
        Decision::Deny => gate::DENY,
        Decision::Busy => gate::BUSY,
    }
}

#[inline(always)]
fn run(ctx: &LsmContext) -> i32 {
    let thread = kernel::thread();
    match threads::find(thread) {
        Some(record) if record.held_until != 0 => verdict::may_run(record),
        Some(_) => 0,
        // It has not asked for anything yet.
        None => verdict::may_begin(ctx, (thread >> 32) as u32),
    }
}
