//! # raw_tracepoint/kvm_vmgexit_enter
//!
//! `(vcpu_id, struct ghcb *)`, for every VMGEXIT of every SEV-ES and SNP guest:
//! MMIO, port I/O, page states. What is no guest request leaves at once.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::{
    ghcb,
    request::{EXIT_EXTENDED, EXIT_PLAIN},
};

use crate::{atomic, kernel, maps, threads};

#[raw_tracepoint(tracepoint = "kvm_vmgexit_enter")]
pub fn vmgexit_enter(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if let Some(code) = kernel::read(ghcb.wrapping_add(ghcb::SW_EXIT_CODE))
        && let Some(extended) = ghcb::request(code)
    {
        on_request(&ctx, extended);
    }
    0
}

#[inline(always)]
fn on_request(ctx: &RawTracePointContext, extended: bool) {
    let Some(host) = maps::host() else { return };
    atomic::add(&mut host.exits[extended as usize], 1);
    let Some(thread) = threads::find_or_make(ctx, kernel::thread()) else { return };
    thread.exit = if extended { EXIT_EXTENDED } else { EXIT_PLAIN };
    if host.exit_starts_request != 0 {
        let abandoned = thread.want_lock(kernel::now());
        threads::count_abandoned(thread, abandoned);
    }
}
