//! # What is attached
//!
//! An entry does nothing but jump to the program that stands in its place of a
//! program array, so that a new agent's programs take over at once
//! (guestreq-common, `hook`). While a place is empty, nothing happens.

use aya_ebpf::{EbpfContext, helpers::bpf_get_smp_processor_id, maps::ProgramArray};

#[inline(always)]
pub fn jump<C: EbpfContext>(ctx: &C, programs: &ProgramArray, place: u32) {
    mark(cfg!(feature = "other-entries"));
    // SAFETY: nothing of the caller is left to be dropped.
    unsafe { programs.tail_call(ctx, place) };
}

/// Makes a program another one that does the same, for tests of what happens when another
/// version's takes over.
#[inline(always)]
pub fn mark(other: bool) {
    if other {
        // SAFETY: only reads which CPU this is; a call that the compiler keeps.
        unsafe { bpf_get_smp_processor_id() };
    }
}
