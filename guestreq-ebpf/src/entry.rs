//! # Entries
//!
//! An attached program only tail-calls the program in its slot of a program array, so that a new
//! agent's programs take over atomically (guestreq-common, `tail_calls`). An empty slot does nothing.

use aya_ebpf::{EbpfContext, helpers::bpf_get_smp_processor_id, maps::ProgramArray};

#[inline(always)]
pub fn jump<C: EbpfContext>(ctx: &C, programs: &ProgramArray, slot: u32) {
    mark(cfg!(feature = "other-entries"));
    // SAFETY: nothing of the caller is left to be dropped.
    unsafe { programs.tail_call(ctx, slot) };
}

/// Makes a program differ without changing what it does, for tests of takeovers between versions.
#[inline(always)]
pub fn mark(other: bool) {
    if other {
        // SAFETY: only reads which CPU this is; a call that the compiler keeps.
        unsafe { bpf_get_smp_processor_id() };
    }
}
