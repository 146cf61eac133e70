//! # raw_tracepoint/kvm_userspace_exit
//!
//! `(reason, errno)`, when KVM_RUN returns to the VMM. A request cannot outlive
//! the KVM_RUN that failed: what is still open ended on the host.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{kernel, threads};

#[raw_tracepoint(tracepoint = "kvm_userspace_exit")]
pub fn userspace_exit(ctx: RawTracePointContext) -> i32 {
    if (ctx.arg::<u64>(1) as i32) < 0
        && let Some(thread) = threads::find(kernel::thread())
    {
        let abandoned = thread.abandon();
        threads::count_abandoned(thread, abandoned);
    }
    0
}
