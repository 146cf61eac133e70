//! # Slots with a queue

use std::collections::VecDeque;

use super::slots::{ConnectionSlots, Slot};

/// Connections that may wait for a slot.
const MOST_WAITING: usize = 64;

pub struct Room<S> {
    pub slots: ConnectionSlots,
    waiting: VecDeque<S>,
}

impl<S> Room<S> {
    pub fn new(most: usize) -> Room<S> {
        Room { slots: ConnectionSlots::new(most), waiting: VecDeque::new() }
    }

    /// Whether the queue is full.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// Queues a connection; closes it if the queue is full.
    pub fn push(&mut self, stream: S) {
        if !self.is_full() {
            self.waiting.push_back(stream);
        }
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The first waiting connection with a slot, if one is free or can be evicted, and whether one
    /// was evicted.
    pub fn pop(&mut self) -> Option<(S, Slot, bool)> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut evicted = false;
        while self.slots.are_taken() {
            if !self.slots.evict() {
                // All were active just now.
                return None;
            }
            evicted = true;
        }
        Some((self.waiting.pop_front()?, self.slots.take(), evicted))
    }
}
