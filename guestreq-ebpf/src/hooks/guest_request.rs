//! # kprobe/snp_handle_guest_req
//!
//! `(struct vcpu_svm *, gpa_t req, gpa_t resp)` in kvm_amd: t0, KVM wants the
//! VM's `guest_req_mutex`.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use guestreq_common::{hook::kprobe, request::State};

use crate::{entry, kernel, maps, threads};

#[kprobe]
pub fn on_guest_request(ctx: ProbeContext) -> u32 {
    entry::jump(&ctx, &maps::KPROBES, kprobe::GUEST_REQUEST);
    0
}

/// Of a thread that asked before, and has no request open.
#[kprobe]
pub fn guest_request(ctx: ProbeContext) -> u32 {
    match threads::known(kernel::thread()) {
        Some(thread) if thread.state == State::Idle as u32 => thread.begin(kernel::now()),
        _ => entry::jump(&ctx, &maps::KPROBES, kprobe::GUEST_REQUEST_SLOW),
    }
    0
}

#[kprobe]
pub fn guest_request_slow(_ctx: ProbeContext) -> u32 {
    want_lock();
    0
}

/// A request that is still open now was answered unseen, or failed unseen.
#[inline(always)]
pub fn want_lock() {
    if let Some(thread) = threads::record(kernel::thread())
        && let Some(unmatched) = thread.want_lock(kernel::now())
    {
        threads::count_unmatched(thread, &unmatched);
    }
}
