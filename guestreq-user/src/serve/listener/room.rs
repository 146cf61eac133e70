//! # A number of slots, and who waits for one

use std::collections::VecDeque;

use super::slots::{ConnectionSlots, Slot};

/// So many may wait for a slot.
const MOST_WAITING: usize = 64;

pub struct Room<S> {
    pub slots: ConnectionSlots,
    waiting: VecDeque<S>,
}

impl<S> Room<S> {
    pub fn new(most: usize) -> Room<S> {
        Room { slots: ConnectionSlots::new(most), waiting: VecDeque::new() }
    }

    /// Whether no more can wait.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// Dropped, and so closed, where too many wait already.
    pub fn enter(&mut self, stream: S) {
        if !self.is_full() {
            self.waiting.push_back(stream);
        }
    }

    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Who came first, with a slot, if there is one or somebody leaves theirs; and whether
    /// somebody did.
    pub fn seat(&mut self) -> Option<(S, Slot, bool)> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut full = false;
        while self.slots.are_taken() {
            if !self.slots.make_room() {
                // All of them have just come, or read.
                return None;
            }
            full = true;
        }
        Some((self.waiting.pop_front()?, self.slots.take(), full))
    }
}
