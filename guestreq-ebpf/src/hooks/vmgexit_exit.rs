//! # raw_tracepoint/kvm_vmgexit_exit
//!
//! `(vcpu_id, struct ghcb *)`, at the next entry into the guest: what it is told.
//! Runs for every VMGEXIT of every SEV-ES and SNP guest (MMIO, port I/O, page
//! states): what is no guest request leaves at once.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::{
    ghcb::{self, Told},
    hook::tracepoint,
};

use crate::{atomic, entry, kernel, maps, threads};

#[raw_tracepoint(tracepoint = "kvm_vmgexit_exit")]
pub fn on_vmgexit_exit(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if ghcb::request(kernel::word(ghcb.wrapping_add(ghcb::SW_EXIT_CODE))).is_some() {
        entry::jump(&ctx, &maps::TRACEPOINTS, tracepoint::VMGEXIT_EXIT);
    }
    0
}

#[raw_tracepoint(tracepoint = "kvm_vmgexit_exit")]
pub fn vmgexit_exit(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if let Some(extended) = ghcb::request(kernel::word(ghcb.wrapping_add(ghcb::SW_EXIT_CODE))) {
        on_request(ghcb, extended);
    }
    0
}

/// The guest can write the GHCB at any time, so that it can claim requests here that
/// it did not make; it could as well make them.
#[inline(always)]
fn on_request(ghcb: u64, extended: bool) {
    let Some(host) = maps::host() else { return };
    let info2 = kernel::word(ghcb.wrapping_add(ghcb::SW_EXIT_INFO_2));
    atomic::add(&mut host.totals.exits[extended as usize], 1);
    atomic::add(&mut host.totals.told[Told::of(info2) as usize & (ghcb::TOLD - 1)], 1);
    // The thread's record is left alone otherwise: it would be one page more for each request.
    if extended
        && let Some(thread) = threads::find(kernel::thread())
        && let Some(vm) = maps::vm(thread.ran())
    {
        atomic::add(&mut vm.extended, 1);
    }
}
