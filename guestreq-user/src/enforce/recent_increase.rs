//! # What should not have happened, and did
//!
//! It counts against us until it has not happened for a minute.

use std::time::{Duration, Instant};

const MEMORY: Duration = Duration::from_secs(60);

/// A number that only grows when something goes wrong, and by how much it has grown lately.
#[derive(Debug, Default)]
pub struct RecentIncrease {
    seen: u64,
    count: u64,
    last: Option<Instant>,
}

impl RecentIncrease {
    /// What happened up to now is not ours.
    pub fn forget(&mut self, total: u64) {
        *self = RecentIncrease { seen: total, ..RecentIncrease::default() };
    }

    /// Another total begins; what the one before it told stays.
    pub fn begin(&mut self, total: u64) {
        self.seen = total;
    }

    pub fn look(&mut self, total: u64, now: Instant) {
        let more = total.saturating_sub(self.seen);
        self.seen = total;
        if more > 0 {
            self.count = self.lately(now).unwrap_or(0) + more;
            self.last = Some(now);
        }
    }

    /// How often it happened, if the last time was less than a minute ago.
    pub fn lately(&self, now: Instant) -> Option<u64> {
        let last = self.last?;
        (now.saturating_duration_since(last) < MEMORY).then_some(self.count)
    }

    /// The number itself, when last seen.
    pub fn total(&self) -> u64 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_between_two_looks_adds_up_until_it_has_not_for_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lapse = RecentIncrease::default();
        lapse.forget(7);
        lapse.look(7, at(0));
        assert_eq!(lapse.lately(at(0)), None, "not ours");
        lapse.look(8, at(1));
        lapse.look(10, at(2));
        lapse.look(10, at(61));
        assert_eq!(lapse.lately(at(61)), Some(3));
        assert_eq!(lapse.lately(at(62)), None);
        lapse.look(11, at(63));
        assert_eq!((lapse.lately(at(63)), lapse.total()), (Some(1), 11));
        lapse.begin(0);
        lapse.look(2, at(64));
        assert_eq!(lapse.lately(at(64)), Some(3), "another gate counts from zero");
    }
}
