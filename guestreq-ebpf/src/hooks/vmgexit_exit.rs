//! # raw_tracepoint/kvm_vmgexit_exit
//!
//! `(vcpu_id, struct ghcb *)`, at the next entry into the guest: what it is told.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::ghcb::{self, Told};

use crate::{atomic, kernel, maps, threads};

#[raw_tracepoint(tracepoint = "kvm_vmgexit_exit")]
pub fn vmgexit_exit(ctx: RawTracePointContext) -> i32 {
    let ghcb: u64 = ctx.arg(1);
    if let Some(exit) = kernel::read::<ghcb::Exit>(ghcb.wrapping_add(ghcb::SW_EXIT_CODE))
        && ghcb::request(exit.code).is_some()
    {
        on_request(exit.info2);
    }
    0
}

#[inline(always)]
fn on_request(info2: u64) {
    // The guest can write the GHCB at any time: only an exit that began as a request counts.
    let Some(thread) = threads::find(kernel::thread()) else { return };
    if thread.exit == 0 {
        return;
    }
    thread.exit = 0;
    let abandoned = thread.abandon();
    threads::count_abandoned(thread, abandoned);
    if let Some(host) = maps::host() {
        atomic::add(&mut host.told[Told::of(info2) as usize & (ghcb::TOLD - 1)], 1);
    }
}
