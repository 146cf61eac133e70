//! # Hiding values from the verifier
//!
//! The kernel's verifier walks what follows once for each value that it knows a number to have, and
//! for each way in which it came about. Paths that differ only in a number merge once that number went
//! through map memory.

/// Passes a number through map memory, so that the verifier no longer knows it.
#[inline(always)]
pub fn forget<T: Copy>(memory: &mut T, number: T) -> T {
    // SAFETY: the reference is valid and aligned.
    unsafe { (memory as *mut T).write_volatile(number) };
    reload(memory)
}

/// Reads a word again, even one just written.
#[inline(always)]
pub fn reload<T: Copy>(word: &T) -> T {
    // SAFETY: the reference is valid and aligned; a word is read at once.
    unsafe { (word as *const T).read_volatile() }
}
