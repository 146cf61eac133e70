//! # Hiding values from the verifier
//!
//! The verifier walks what follows once for each value that it knows a number to have. Paths that
//! differ only in a number merge once that number is unknown.

use core::hint::black_box;

/// A part of a record by its own address: an instruction reaches 32 KiB from a known address, and
/// each access beyond takes two more.
#[inline(always)]
pub fn near<T>(part: &mut T) -> &mut T {
    black_box(part)
}

/// Writes a word when it is due: the compiler moves no other write of this kind across it.
#[inline(always)]
pub fn store(word: &mut u64, value: u64) {
    // SAFETY: the reference is valid and aligned.
    unsafe { (word as *mut u64).write_volatile(value) };
}
