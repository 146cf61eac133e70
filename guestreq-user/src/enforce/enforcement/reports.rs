//! # Whether it is news that nothing is enforced, or that all is again

use std::time::Instant;

use guestreq_common::policy::Mode;

use crate::throttle::{ReportThrottle, without_numbers};

/// Why it is not, as it was told last, without its numbers; `None`: it is.
#[derive(Default)]
pub struct ReasonThrottle(ReportThrottle<Option<String>>);

impl ReasonThrottle {
    /// Whether to tell what was found just now.
    pub fn is_any(&mut self, mode: Mode, trouble: Option<&str>, now: Instant) -> bool {
        let state = trouble.map(without_numbers);
        if mode == Mode::Enforce {
            return self.0.is_due(state, now);
        }
        // Nobody has asked for it; where somebody does, it is what they were told.
        self.0.knows(state);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Row 15 of the second review: the reason counts, and was another one at each look.
    #[test]
    fn what_passes_by_the_hundred_is_told_once() {
        let (start, mut news) = (Instant::now(), ReasonThrottle::default());
        let told = (1..=36_000).filter(|count| {
            let reason = format!("requests that passed and should not have: {count}");
            let now = start + Duration::from_millis(100) * *count;
            news.is_any(Mode::Enforce, Some(&reason), now)
        });
        assert_eq!(told.count(), 1, "in an hour");
        let now = start + Duration::from_secs(4000);
        assert!(news.is_any(Mode::Enforce, None, now));
        assert!(!news.is_any(Mode::Enforce, None, now));
        assert!(news.is_any(Mode::Enforce, Some("the gate is not loaded"), now));
    }

    #[test]
    fn what_comes_and_goes_is_told_at_a_bounded_rate() {
        let (start, mut news) = (Instant::now(), ReasonThrottle::default());
        let told = (0..36_000u32).filter(|n| {
            let reason = (n % 2 == 0).then_some("the gate is not loaded");
            news.is_any(Mode::Enforce, reason, start + Duration::from_millis(100) * *n)
        });
        let told = told.count();
        assert!((300..400).contains(&told), "{told} in an hour");
    }

    #[test]
    fn what_nobody_has_asked_for_is_not_told() {
        let (now, mut news) = (Instant::now(), ReasonThrottle::default());
        assert!(!news.is_any(Mode::Audit, Some("the gate is not loaded"), now));
        assert!(!news.is_any(Mode::Enforce, Some("the gate is not loaded"), now));
        assert!(news.is_any(Mode::Enforce, None, now));
    }
}
