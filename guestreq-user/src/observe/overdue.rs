//! # Overdue requests
//!
//! Requests that went to the PSP without a slot, because the gate's order stood still for 10 s. While
//! the PSP hangs that happens again and again, so only the first of a series are reported.

use std::time::{Duration, Instant};

/// So long without any ends a series.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Overdue {
    /// The gate's count; `None` before the first.
    seen: Option<u64>,
    last: Option<Instant>,
}

impl Overdue {
    /// How many more there are, if they begin a series. The first count is a baseline; a lower one is
    /// that of another gate, which began at 0.
    pub fn begins(&mut self, total: u64, now: Instant) -> Option<u64> {
        let before = self.seen.replace(total).unwrap_or(total);
        let more = if total < before { total } else { total - before };
        if more == 0 {
            return None;
        }
        let last = self.last.replace(now);
        let begins = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        begins.then_some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_series_is_reported_and_again_after_a_minute_without_any() {
        let start = Instant::now();
        let mut overdue = Overdue::default();
        let mut at = |seconds, total| overdue.begins(total, start + Duration::from_secs(seconds));
        assert_eq!(at(0, 5), None, "before the agent");
        assert_eq!(at(1, 5), None);
        assert_eq!(at(2, 8), Some(3));
        for seconds in 3..100 {
            assert_eq!(at(seconds, 8 + seconds), None, "the same series");
        }
        assert_eq!(at(158, 108), None, "59 s later");
        assert_eq!(at(218, 108), None, "none");
        assert_eq!(at(219, 110), Some(2));
    }

    #[test]
    fn another_gate_counts_from_zero() {
        let now = Instant::now();
        let mut overdue = Overdue::default();
        assert_eq!(overdue.begins(7, now), None);
        assert_eq!(overdue.begins(0, now), None, "it was removed");
        assert_eq!(overdue.begins(1, now), Some(1));
        let mut overdue = Overdue::default();
        assert_eq!(overdue.begins(7, now), None);
        assert_eq!(overdue.begins(2, now), Some(2), "it was loaded again between two looks");
    }
}
