//! # kprobe/snp_handle_guest_req
//!
//! `(struct vcpu_svm *, gpa_t req, gpa_t resp)` in kvm_amd: t0, KVM wants the
//! VM's `guest_req_mutex`.

use aya_ebpf::{EbpfContext, macros::kprobe, programs::ProbeContext};
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
pub fn guest_request_slow(ctx: ProbeContext) -> u32 {
    want_lock(&ctx);
    0
}

#[inline(always)]
pub fn want_lock<C: EbpfContext>(ctx: &C) {
    if let Some(thread) = threads::find_or_make(ctx, kernel::thread()) {
        let abandoned = thread.want_lock(kernel::now());
        threads::count_abandoned(thread, abandoned, 0);
    }
}
