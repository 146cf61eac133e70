//! # raw_tracepoint/kvm_vmgexit_enter
//!
//! `(vcpu_id, struct ghcb *)`, for every VMGEXIT of every SEV-ES and SNP guest: MMIO, port I/O, page
//! states. Serves as t0 where `snp_handle_guest_req` is inlined, and is attached only there.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::tail_calls::tracepoint;

use super::guest_request::want_lock;
use crate::{entry, kernel, maps};

#[raw_tracepoint(tracepoint = "kvm_vmgexit_enter")]
pub fn on_vmgexit_enter(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if kernel::vmgexit_request(ghcb).is_some() {
        entry::jump(&ctx, &maps::TRACEPOINTS, tracepoint::VMGEXIT_ENTER);
    }
    0
}

#[raw_tracepoint(tracepoint = "kvm_vmgexit_enter")]
pub fn vmgexit_enter(_ctx: RawTracePointContext) -> i32 {
    want_lock();
    0
}
