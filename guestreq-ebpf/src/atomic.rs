//! # Atomic access
//!
//! For counters that hooks outside `sev_cmd_mutex` write, and for limiters' states.

use core::cell::UnsafeCell;

use guestreq_common::{gcra, verifier::reload};

/// Adds `n` to a counter in a map.
#[inline(always)]
pub fn add(counter: &mut u64, n: u64) {
    instruction::add(counter, n);
}

/// Subtracts one from a counter in a map.
#[inline(always)]
pub fn decrement(counter: &mut u64) {
    add(counter, u64::MAX);
}

/// Takes ownership: replaces 0 by `mine`. Whether it succeeded.
#[inline(always)]
pub fn take(owner: &mut u32, mine: u32) -> bool {
    instruction::replace_u32(owner, 0, mine)
}

/// Clears and sets bits of a word. Who loses a race to others as often as this tries changes nothing.
#[inline(always)]
pub fn change_bits(word: &mut u32, clear: u32, set: u32) {
    for _ in 0..4 {
        let old = reload(word);
        if instruction::replace_u32(word, old, old & !clear | set) {
            return;
        }
    }
}

/// A word in a map, such as a limiter's state.
pub struct Word<'a>(&'a UnsafeCell<u64>);

impl<'a> Word<'a> {
    #[inline(always)]
    pub fn new(state: &'a mut u64) -> Word<'a> {
        // SAFETY: an UnsafeCell has the layout of what is in it, and the borrow is ours alone.
        Word(unsafe { &*(state as *mut u64).cast::<UnsafeCell<u64>>() })
    }
}

impl gcra::Cell for Word<'_> {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: valid and aligned; a word is read at once.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn replace(&self, old: u64, new: u64) -> bool {
        instruction::replace_u64(self.0, old, new)
    }
}

/// One BPF instruction each.
#[cfg(target_arch = "bpf")]
mod instruction {
    use core::{
        cell::UnsafeCell,
        intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd},
    };

    const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

    #[inline(always)]
    pub fn add(counter: &mut u64, n: u64) {
        // SAFETY: the reference is valid and aligned; the instruction is one atomic access.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n) };
    }

    #[inline(always)]
    pub fn replace_u32(word: &mut u32, old: u32, new: u32) -> bool {
        // SAFETY: the reference is valid and aligned; the instruction is one atomic access.
        unsafe { atomic_cxchg::<u32, { ORDER }, { ORDER }>(word, old, new).1 }
    }

    #[inline(always)]
    pub fn replace_u64(word: &UnsafeCell<u64>, old: u64, new: u64) -> bool {
        // SAFETY: the reference is valid and aligned; the instruction is one atomic access.
        unsafe { atomic_cxchg::<u64, { ORDER }, { ORDER }>(word.get(), old, new).1 }
    }
}

/// For builds on the host, where none of this runs.
#[cfg(not(target_arch = "bpf"))]
mod instruction {
    use core::{
        cell::UnsafeCell,
        sync::atomic::{AtomicU64, Ordering::SeqCst},
    };

    pub fn add(counter: &mut u64, n: u64) {
        *counter = counter.wrapping_add(n);
    }

    pub fn replace_u32(word: &mut u32, old: u32, new: u32) -> bool {
        let is_old = *word == old;
        if is_old {
            *word = new;
        }
        is_old
    }

    pub fn replace_u64(word: &UnsafeCell<u64>, old: u64, new: u64) -> bool {
        // SAFETY: the reference is valid and aligned, and every access to it is atomic.
        let word = unsafe { AtomicU64::from_ptr(word.get()) };
        word.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
    }
}
