//! # raw_tracepoint/kvm_vmgexit_enter
//!
//! `(vcpu_id, struct ghcb *)`, for every VMGEXIT of every SEV-ES and SNP guest:
//! MMIO, port I/O, page states. Attached only where nothing better tells when
//! KVM wants the VM's lock (`snp_handle_guest_req` inlined): then this is t0.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::ghcb;

use super::guest_request::want_lock;
use crate::kernel;

#[raw_tracepoint(tracepoint = "kvm_vmgexit_enter")]
pub fn vmgexit_enter(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if let Some(code) = kernel::read(ghcb.wrapping_add(ghcb::SW_EXIT_CODE))
        && ghcb::request(code).is_some()
    {
        want_lock(&ctx);
    }
    0
}
