//! # Atomic addition
//!
//! For counters that hooks outside `sev_cmd_mutex` write.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds `n` to a counter in a map.
#[inline(always)]
pub fn add(counter: &mut u64, n: u64) {
    // SAFETY: the reference is valid and aligned; the instruction is one atomic access.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n) };
}

/// Subtracts one from a counter in a map.
#[inline(always)]
pub fn decrement(counter: &mut u64) {
    add(counter, u64::MAX);
}
