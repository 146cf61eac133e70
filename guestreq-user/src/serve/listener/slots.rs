//! # Connection slots and eviction
//!
//! Connections without an answer so far are evicted first, among these the one idle for longest.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;

/// A connection that was active within this time is not evicted.
pub const GRACE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct ConnectionSlots(Arc<Mutex<Taken>>);

struct Taken {
    most: usize,
    next: u64,
    by: BTreeMap<u64, Entry>,
}

struct Entry {
    seen: Instant,
    answered: bool,
    waker: Arc<AtomicWaker>,
}

impl ConnectionSlots {
    pub fn new(most: usize) -> ConnectionSlots {
        ConnectionSlots(Arc::new(Mutex::new(Taken { most, next: 0, by: BTreeMap::new() })))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn most(&self) -> usize {
        self.taken().most
    }

    pub fn are_taken(&self) -> bool {
        let taken = self.taken();
        taken.by.len() >= taken.most
    }

    /// Evicts the idlest connection not active within [`GRACE`].
    pub fn evict(&self) -> bool {
        let mut taken = self.taken();
        let first = taken.by.iter().min_by_key(|(_, entry)| (entry.answered, entry.seen));
        let Some((&id, entry)) = first else { return false };
        if entry.seen.elapsed() < GRACE {
            return false;
        }
        if let Some(entry) = taken.by.remove(&id) {
            entry.waker.wake();
        }
        true
    }

    pub fn take(&self) -> Slot {
        let waker = Arc::new(AtomicWaker::new());
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        let entry = Entry { seen: Instant::now(), answered: false, waker: Arc::clone(&waker) };
        taken.by.insert(id, entry);
        Slot { slots: self.clone(), id, waker }
    }
}

/// Freed when dropped.
pub struct Slot {
    slots: ConnectionSlots,
    id: u64,
    waker: Arc<AtomicWaker>,
}

impl Slot {
    /// Registers the waker for eviction.
    pub fn wake(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Whether it has not been evicted.
    pub fn is_kept(&self) -> bool {
        self.slots.taken().by.contains_key(&self.id)
    }

    /// Records activity: data sent, or read from an answer.
    pub fn seen(&self, answered: bool) {
        if let Some(entry) = self.slots.taken().by.get_mut(&self.id) {
            entry.seen = Instant::now();
            entry.answered |= answered;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().by.remove(&self.id);
    }
}
