//! # When enforcement's state is reported

use std::time::Instant;

use guestreq_common::policy::Mode;

use crate::throttle::{ReportThrottle, without_numbers};

/// Throttles the reason why nothing is enforced, numbers removed; `None`: enforced.
#[derive(Default)]
pub struct ReasonThrottle(ReportThrottle<Option<String>>);

impl ReasonThrottle {
    /// Whether to report the self-test's result.
    pub fn is_due(&mut self, mode: Mode, failure: Option<&str>, now: Instant) -> bool {
        let state = failure.map(without_numbers);
        if mode == Mode::Enforce {
            return self.0.is_due(state, now);
        }
        // No policy asks for it; a change to enforce shows this state.
        self.0.set_reported(state);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Row 15 of the second review: the reason holds a count, and was another one each time.
    #[test]
    fn a_reason_with_a_growing_count_is_reported_once() {
        let (start, mut throttle) = (Instant::now(), ReasonThrottle::default());
        let reported = (1..=36_000).filter(|count| {
            let reason = format!("requests that bypassed enforcement: {count}");
            let now = start + Duration::from_millis(100) * *count;
            throttle.is_due(Mode::Enforce, Some(&reason), now)
        });
        assert_eq!(reported.count(), 1, "in an hour");
        let now = start + Duration::from_secs(4000);
        assert!(throttle.is_due(Mode::Enforce, None, now));
        assert!(!throttle.is_due(Mode::Enforce, None, now));
        assert!(throttle.is_due(Mode::Enforce, Some("the gate is not loaded"), now));
    }

    #[test]
    fn a_flapping_state_is_reported_at_a_bounded_rate() {
        let (start, mut throttle) = (Instant::now(), ReasonThrottle::default());
        let reported = (0..36_000u32).filter(|n| {
            let reason = (n % 2 == 0).then_some("the gate is not loaded");
            throttle.is_due(Mode::Enforce, reason, start + Duration::from_millis(100) * *n)
        });
        let reported = reported.count();
        assert!((300..400).contains(&reported), "{reported} in an hour");
    }

    #[test]
    fn nothing_is_reported_unless_a_policy_enforces() {
        let (now, mut throttle) = (Instant::now(), ReasonThrottle::default());
        assert!(!throttle.is_due(Mode::Audit, Some("the gate is not loaded"), now));
        assert!(!throttle.is_due(Mode::Enforce, Some("the gate is not loaded"), now));
        assert!(throttle.is_due(Mode::Enforce, None, now));
    }
}
