//! # A VM's VMPCKs
//!
//! Shared by its vCPUs.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::values::Vmpck;

/// The number of messages per key, both ways. The lock is held for a whole request, including
/// waiting, like Linux' mutex: at most one request per key is in flight.
#[derive(Clone, Default)]
pub struct Keys(Arc<Shared>);

#[derive(Default)]
struct Shared {
    counts: [Mutex<u64>; 4],
    /// a bit for each wiped key; set with the lock held
    wiped: AtomicU8,
}

impl Keys {
    /// The key's count, or None if the key was wiped.
    pub fn hold(&self, vmpck: u8) -> Option<MutexGuard<'_, u64>> {
        // a counter is valid after a panic
        let count =
            self.0.counts[usize::from(vmpck & 3)].lock().unwrap_or_else(PoisonError::into_inner);
        (!self.wiped(Vmpck::One(vmpck))).then_some(count)
    }

    /// Wipes the key for all vCPUs.
    pub fn wipe(&self, vmpck: u8) {
        self.0.wiped.fetch_or(bits(Vmpck::One(vmpck)), Ordering::Relaxed);
    }

    /// Whether all of these are wiped.
    pub fn wiped(&self, vmpck: Vmpck) -> bool {
        let bits = bits(vmpck);
        self.0.wiped.load(Ordering::Relaxed) & bits == bits
    }
}

fn bits(vmpck: Vmpck) -> u8 {
    match vmpck {
        Vmpck::One(vmpck) => 1 << (vmpck & 3),
        Vmpck::All => 0xf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_key_is_wiped_for_all_vcpus() {
        let keys = Keys::default();
        *keys.hold(2).unwrap() = 4;
        let other = keys.clone();
        assert_eq!(other.hold(2).as_deref(), Some(&4));
        keys.wipe(2);
        assert!(other.hold(2).is_none() && other.wiped(Vmpck::One(2)));
        assert!(other.hold(3).is_some() && !other.wiped(Vmpck::All));
    }

    #[test]
    fn all_keys_are_wiped_when_each_is() {
        let keys = Keys::default();
        (0..4).for_each(|vmpck| keys.wipe(vmpck));
        assert!(keys.wiped(Vmpck::All));
    }
}
