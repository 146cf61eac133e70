//! # raw_tracepoint/kvm_userspace_exit
//!
//! `(reason, errno)`, when KVM_RUN returns to the VMM. If KVM_RUN failed, a request that is still
//! open failed on the host. A signal is no failure.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::tail_calls::tracepoint;

use crate::{entry, kernel, maps, threads};

#[raw_tracepoint(tracepoint = "kvm_userspace_exit")]
pub fn on_userspace_exit(ctx: RawTracePointContext) -> i32 {
    // Runs for each return to a VMM; few are failures.
    if errno(&ctx) < 0 && errno(&ctx) != EINTR {
        entry::jump(&ctx, &maps::TRACEPOINTS, tracepoint::USERSPACE_EXIT);
    }
    0
}

#[raw_tracepoint(tracepoint = "kvm_userspace_exit")]
pub fn userspace_exit(ctx: RawTracePointContext) -> i32 {
    if let Some(thread) = threads::find(kernel::thread())
        && let Some(failed) = thread.abandon()
    {
        threads::count_failed(thread, &failed, errno(&ctx));
    }
    0
}

/// A signal before the next guest entry: the request was answered.
const EINTR: i32 = -4;

#[inline(always)]
fn errno(ctx: &RawTracePointContext) -> i32 {
    ctx.arg::<u64>(1) as i32
}
