//! # kprobe/snp_handle_guest_req
//!
//! `(struct vcpu_svm *, gpa_t req, gpa_t resp)` in kvm_amd: t0, KVM wants the VM's
//! `guest_req_mutex`.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use guestreq_common::tail_calls::kprobe;

use crate::{entry, kernel, maps, threads};

#[kprobe]
pub fn on_guest_request(ctx: ProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::GUEST_REQUEST);
    0
}

/// For a known thread without an open request.
#[kprobe]
pub fn guest_request(ctx: ProbeContext) -> u32 {
    match threads::find_fast(kernel::thread()) {
        Some(thread) if thread.is_idle() => thread.begin(kernel::now()),
        _ => entry::jump(&ctx, &maps::KPROBES, kprobe::GUEST_REQUEST_SLOW),
    }
    0
}

#[kprobe]
pub fn guest_request_slow(_ctx: ProbeContext) -> u32 {
    want_lock();
    0
}

/// The end of a request that is still open was missed.
#[inline(always)]
pub fn want_lock() {
    if let Some(thread) = threads::find_or_make(kernel::thread())
        && let Some(unmatched) = thread.want_lock(kernel::now())
    {
        threads::count_unmatched(thread, &unmatched);
    }
}
