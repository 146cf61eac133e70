//! # raw_tracepoint/kvm_vmgexit_exit
//!
//! `(vcpu_id, struct ghcb *)`, at the next entry into the guest: the result that it gets. Runs for
//! every VMGEXIT of every SEV-ES and SNP guest (MMIO, port I/O, page states), and returns at once
//! unless it is a guest request.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::{
    ghcb::{self, GuestStatus},
    tail_calls::tracepoint,
};

use crate::{atomic, entry, kernel, maps, threads};

#[raw_tracepoint(tracepoint = "kvm_vmgexit_exit")]
pub fn on_vmgexit_exit(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if kernel::vmgexit_request(ghcb).is_some() {
        entry::jump(&ctx, &maps::TRACEPOINTS, tracepoint::VMGEXIT_EXIT);
    }
    0
}

#[raw_tracepoint(tracepoint = "kvm_vmgexit_exit")]
pub fn vmgexit_exit(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if let Some(extended) = kernel::vmgexit_request(ghcb) {
        on_request(ghcb, extended);
    }
    0
}

/// The guest can write the GHCB at any time, and so fake requests here; it could as well send them.
#[inline(always)]
fn on_request(ghcb: u64, extended: bool) {
    let Some(host) = maps::host() else { return };
    let info2 = kernel::word(ghcb.wrapping_add(ghcb::SW_EXIT_INFO_2));
    atomic::add(&mut host.totals.exits[extended as usize], 1);
    let status = GuestStatus::of(info2) as usize & (ghcb::GUEST_STATUSES - 1);
    atomic::add(&mut host.totals.guest_statuses[status], 1);
    // Otherwise the thread's record is not touched: it would be one more page per request.
    if extended
        && let Some(thread) = threads::find(kernel::thread())
        && let Some(vm) = maps::vm(thread.vm)
    {
        atomic::add(&mut vm.extended, 1);
    }
}
