//! # What is attached
//!
//! An entry does nothing but jump to the program that stands in its place of a
//! program array, so that a new agent's programs take over at once
//! (guestreq-common, `hook`). While a place is empty, nothing happens.

use aya_ebpf::{EbpfContext, maps::ProgramArray};

#[inline(always)]
pub fn jump<C: EbpfContext>(ctx: &C, programs: &ProgramArray, place: u32) {
    // SAFETY: nothing of the caller is left to be dropped.
    unsafe { programs.tail_call(ctx, place) };
}
