//! # What the verifier does not know
//!
//! The verifier walks what follows for each value that it knows a number to have.
//! Where ways meet again that differ in a number only, it walks on once if it does
//! not know the number any more.

use core::hint::black_box;

/// A number by way of memory in a map, so that the verifier does not know it any more.
#[inline(always)]
pub fn forget(memory: &mut u32, number: u32) -> u32 {
    // SAFETY: the reference is valid and aligned.
    unsafe { (memory as *mut u32).write_volatile(number) };
    reload(memory)
}

/// A part of a record, by an address of its own. An instruction reaches 32 KiB from the one that it
/// knows, and what is beyond takes two more for each access.
#[inline(always)]
pub fn near<T>(part: &mut T) -> &mut T {
    black_box(part)
}

/// Reads a word anew, even one that was just written.
#[inline(always)]
pub fn reload<T: Copy>(word: &T) -> T {
    // SAFETY: the reference is valid and aligned; a word is read at once.
    unsafe { (word as *const T).read_volatile() }
}
