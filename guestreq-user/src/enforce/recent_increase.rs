//! # Counters of failures, seen over a minute

use std::time::{Duration, Instant};

const MEMORY: Duration = Duration::from_secs(60);

/// How much a failure counter has grown, until it has not grown for a minute.
#[derive(Debug, Default)]
pub struct RecentIncrease {
    seen: u64,
    count: u64,
    last: Option<Instant>,
}

impl RecentIncrease {
    /// Takes the current total as baseline, without an increase.
    pub fn reset(&mut self, total: u64) {
        *self = RecentIncrease { seen: total, ..RecentIncrease::default() };
    }

    /// Takes another counter's total as baseline, and keeps the increase.
    pub fn rebase(&mut self, total: u64) {
        self.seen = total;
    }

    pub fn update(&mut self, total: u64, now: Instant) {
        let more = total.saturating_sub(self.seen);
        self.seen = total;
        if more > 0 {
            self.count = self.recent(now).unwrap_or(0) + more;
            self.last = Some(now);
        }
    }

    /// The increase, if the counter last grew less than a minute ago.
    pub fn recent(&self, now: Instant) -> Option<u64> {
        let last = self.last?;
        (now.saturating_duration_since(last) < MEMORY).then_some(self.count)
    }

    /// The total of the last update.
    pub fn total(&self) -> u64 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn increases_add_up_until_there_is_none_for_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut failures = RecentIncrease::default();
        failures.reset(7);
        failures.update(7, at(0));
        assert_eq!(failures.recent(at(0)), None, "not ours");
        failures.update(8, at(1));
        failures.update(10, at(2));
        failures.update(10, at(61));
        assert_eq!(failures.recent(at(61)), Some(3));
        assert_eq!(failures.recent(at(62)), None);
        failures.update(11, at(63));
        assert_eq!((failures.recent(at(63)), failures.total()), (Some(1), 11));
        failures.rebase(0);
        failures.update(2, at(64));
        assert_eq!(failures.recent(at(64)), Some(3), "another gate counts from zero");
    }
}
