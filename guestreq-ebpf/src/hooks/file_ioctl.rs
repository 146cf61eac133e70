//! # lsm/file_ioctl and lsm/file_ioctl_compat
//!
//! `(struct file *, unsigned int cmd, unsigned long arg)`, for every ioctl(2) of every process, with
//! any pointer; the second for 32-bit ones. Two matter: the gate's question, identified by a file
//! that only it holds and its secret; and KVM_RUN, where a vCPU may be held.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use guestreq_common::{
    gate,
    host::{EnforcementRecord, Host},
    message::{HEADER_OFFSET, Header, Summary},
    tail_calls,
    units::GuestContext,
    vm::VmRef,
};

use crate::{decision, entry, kernel, maps, threads, vms};

/// `_IO(KVMIO, 0x80)`
const KVM_RUN: u32 = 0xae80;

#[lsm(hook = "file_ioctl")]
pub fn on_file_ioctl(ctx: LsmContext) -> i32 {
    if is_ours(&ctx) {
        entry::jump(&ctx, &maps::IOCTLS, tail_calls::lsm::FILE_IOCTL);
    }
    0
}

#[lsm(hook = "file_ioctl_compat")]
pub fn on_ioctl_compat(ctx: LsmContext) -> i32 {
    if is_ours(&ctx) {
        entry::jump(&ctx, &maps::IOCTLS_COMPAT, tail_calls::lsm::FILE_IOCTL);
    }
    0
}

/// A request that its VM's policy alone admits; a vCPU that nothing holds.
#[lsm(hook = "file_ioctl")]
pub fn file_ioctl(ctx: LsmContext) -> i32 {
    let Some(host) = maps::host() else { return 0 };
    let next = if ctx.arg::<u32>(1) == KVM_RUN {
        if is_free_to_run(host) {
            return 0;
        }
        tail_calls::lsm::FILE_IOCTL_SLOW
    } else {
        match known(&ctx, host) {
            Some(Known::Passes(answer)) => return answer,
            Some(Known::Decide) => tail_calls::lsm::FILE_IOCTL_DECIDE,
            None => tail_calls::lsm::FILE_IOCTL_SLOW,
        }
    };
    entry::jump(&ctx, &maps::IOCTLS, next);
    0
}

#[inline(always)]
fn is_free_to_run(host: &Host) -> bool {
    // Not an earlier owner's of its tid.
    match threads::find_own(kernel::thread()) {
        Some(thread) if !thread.vm.is_none() => thread.held_until.is_never(),
        // It has sent no request yet, though it may have launched the VM.
        _ => !host.enforcement.holds_vcpus(),
    }
}

/// A request of a VM and a thread with records.
enum Known {
    /// Its VM's policy alone admits it, with this answer.
    Passes(i32),
    Decide,
}

/// `None` if its VM or thread is not known yet.
#[inline(always)]
fn known(ctx: &LsmContext, host: &Host) -> Option<Known> {
    let (nonce, context) = question(ctx, &host.enforcement)?;
    if nonce != 0 {
        return None;
    }
    let message = message(ctx)?;
    let thread = threads::find_fast(kernel::thread())?;
    let vm = maps::vm(thread.vm)?;
    // The thread may have run another VM last, and its first call may have been missed.
    if vm.context != context || !thread.queues(context, &message) {
        return None;
    }
    let Some(answer) = decision::passes_at_gate(&host.enforcement, vm, message.row) else {
        return Some(Known::Decide);
    };
    thread.set_admitted(false);
    Some(Known::Passes(answer))
}

#[lsm(hook = "file_ioctl")]
pub fn file_ioctl_slow(ctx: LsmContext) -> i32 {
    answer(&ctx)
}

/// Another program: in one of them the verifier would walk all paths to a decision for each way in
/// which VM and thread are found.
#[lsm(hook = "file_ioctl")]
pub fn file_ioctl_decide(ctx: LsmContext) -> i32 {
    let Some(host) = maps::host() else { return 0 };
    let Some((_, context)) = question(&ctx, &host.enforcement) else { return 0 };
    let Some(message) = message(&ctx) else { return 0 };
    let vm = vms::find(context);
    if maps::vm(vm).is_none() {
        entry::jump(&ctx, &maps::IOCTLS, tail_calls::lsm::FILE_IOCTL_DECIDE_UNKNOWN);
    }
    let effect = decision::at_gate::<true>(host, kernel::thread(), vm, context, message);
    decision::answer(host, vm, effect)
}

/// Of a VM for which there was no slot.
#[lsm(hook = "file_ioctl")]
pub fn file_ioctl_decide_unknown(ctx: LsmContext) -> i32 {
    let Some(host) = maps::host() else { return 0 };
    let Some((_, context)) = question(&ctx, &host.enforcement) else { return 0 };
    let Some(message) = message(&ctx) else { return 0 };
    let effect = decision::at_gate::<false>(host, kernel::thread(), VmRef::NONE, context, message);
    decision::answer(host, VmRef::NONE, effect)
}

/// The gate asks in the kernel, never here.
#[lsm(hook = "file_ioctl_compat")]
pub fn ioctl_compat(ctx: LsmContext) -> i32 {
    if ctx.arg::<u32>(1) == KVM_RUN { run() } else { 0 }
}

#[inline(always)]
fn is_ours(ctx: &LsmContext) -> bool {
    let command: u32 = ctx.arg(1);
    command == gate::ASK || command == KVM_RUN
}

/// If the gate asks: the nonce (0 for a request) and the guest context.
#[inline(always)]
fn question(ctx: &LsmContext, enforcement: &EnforcementRecord) -> Option<(u64, GuestContext)> {
    let file: u64 = ctx.arg(0);
    if enforcement.gate_file == 0 || file != enforcement.gate_file {
        return None;
    }
    let [cookie, nonce, context] = kernel::read::<[u64; 3]>(ctx.arg(2))?;
    // Another file may have reused the address of the gate's.
    (cookie == enforcement.gate_cookie).then_some((nonce, GuestContext(context)))
}

/// The message that the gate asks about.
#[inline(always)]
fn message(ctx: &LsmContext) -> Option<Summary> {
    const HEADER_AT: u64 = core::mem::offset_of!(gate::Question, header) as u64 + HEADER_OFFSET;
    kernel::read(ctx.arg::<u64>(2).wrapping_add(HEADER_AT))
        .map(|header: Header| Summary::of(&header))
}

#[inline(always)]
fn answer(ctx: &LsmContext) -> i32 {
    if ctx.arg::<u32>(1) == KVM_RUN {
        return run();
    }
    let Some(host) = maps::host() else { return 0 };
    let enforcement = &mut host.enforcement;
    let challenge: u64 = ctx.arg(2);
    if enforcement.challenge != 0 && challenge == enforcement.challenge {
        enforcement.self_test = challenge;
        return gate::DENY;
    }
    let Some((nonce, context)) = question(ctx, enforcement) else { return 0 };
    if nonce != 0 {
        enforcement.self_test = nonce;
        return gate::DENY;
    }
    let Some(message) = message(ctx) else { return 0 };
    decision::prepare_at_gate(ctx, kernel::thread(), context, message);
    entry::jump(ctx, &maps::IOCTLS, tail_calls::lsm::FILE_IOCTL_DECIDE);
    0
}

#[inline(always)]
fn run() -> i32 {
    let thread = kernel::thread();
    match threads::find_own(thread) {
        Some(record) if !record.held_until.is_never() => decision::may_run(record),
        Some(record) if !record.vm.is_none() => 0,
        // It has sent no request yet, though it may have launched the VM.
        _ => decision::may_begin(thread.tgid()),
    }
}
