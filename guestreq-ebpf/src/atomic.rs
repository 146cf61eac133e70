//! # Atomic addition
//!
//! For counters that hooks outside `sev_cmd_mutex` write.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

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

/// Takes what is nobody's: writes `mine` where 0 stands.
#[inline(always)]
pub fn take(owner: &mut u32, mine: u32) -> bool {
    const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
    // SAFETY: the reference is valid and aligned; the instruction is one atomic access.
    unsafe { atomic_cxchg::<u32, { ORDER }, { ORDER }>(owner, 0, mine).1 }
}
