//! # A number of places, and who waits for one

use std::collections::VecDeque;

use super::slots::{Place, Places};

/// So many may wait for a place.
const MOST_WAITING: usize = 64;

pub struct Room<S> {
    pub places: Places,
    waiting: VecDeque<S>,
}

impl<S> Room<S> {
    pub fn new(most: usize) -> Room<S> {
        Room { places: Places::new(most), waiting: VecDeque::new() }
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

    /// Who came first, with a place, if there is one or somebody leaves theirs; and whether
    /// somebody did.
    pub fn seat(&mut self) -> Option<(S, Place, bool)> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut full = false;
        while self.places.are_taken() {
            if !self.places.make_room() {
                // All of them have just come, or read.
                return None;
            }
            full = true;
        }
        Some((self.waiting.pop_front()?, self.places.take(), full))
    }
}
