//! # A reference limiter

use std::cell::Cell as Word;

use guestreq_common::gcra::{Cell, GcraLimit};

/// A limiter's state without concurrency.
#[derive(Default)]
pub struct State(Word<u64>);

impl Cell for State {
    fn load(&self) -> u64 {
        self.0.get()
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        let is_old = self.0.get() == old;
        if is_old {
            self.0.set(new);
        }
        is_old
    }
}

/// GCRA by its definition.
#[derive(Default)]
pub struct Bucket {
    /// When requests conformed, in ns.
    conformed: Vec<u64>,
    /// The theoretical arrival time.
    arrival: u64,
}

impl Bucket {
    /// Whether a request conforms. One that is spent is charged either way, and a state is no more
    /// than a second too far ahead.
    pub fn charge(&mut self, limit: GcraLimit, now: u64, spent: bool) -> bool {
        let tolerance = limit.interval_ns() * (limit.burst() - 1);
        let conforms = self.arrival <= now + tolerance;
        self.arrival = self.arrival.min(now + tolerance + limit.interval_ns() + 1_000_000_000);
        if conforms || spent {
            self.arrival = self.arrival.max(now) + limit.interval_ns();
        }
        if conforms {
            self.conformed.push(now);
        }
        conforms
    }

    /// Over any time t no more than burst + t / interval.
    pub fn is_within(&self, limit: GcraLimit) {
        for (i, first) in self.conformed.iter().enumerate() {
            for (requests, last) in (1..).zip(&self.conformed[i..]) {
                let most = limit.burst() + (last - first) / limit.interval_ns();
                assert!(requests <= most, "{requests} in {} ns: {limit:?}", last - first);
            }
        }
    }
}
