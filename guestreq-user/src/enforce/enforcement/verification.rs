//! # The self-test's last result
//!
//! It runs each second. If the agent hangs or gets no CPU, the last result counts as stale.

use std::time::{Duration, Instant};

const FRESH: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Verification {
    verified: bool,
    failure: Option<String>,
    at: Option<Instant>,
}

impl Verification {
    pub fn new(verified: bool, failure: Option<String>, now: Instant) -> Verification {
        Verification { verified, failure, at: Some(now) }
    }

    pub fn verified(&self, now: Instant) -> bool {
        self.verified && self.stale(now).is_none()
    }

    /// Why enforcement failed its self-test, or that the result is stale.
    pub fn failure(&self, now: Instant) -> Option<String> {
        let stale = || self.stale(now).filter(|_| self.verified);
        self.failure.clone().or_else(|| {
            stale().map(|age| format!("the last self-test was {} s ago", age.as_secs()))
        })
    }

    fn stale(&self, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.at?);
        (age > FRESH).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 1 of the second review: after a stall, `/readyz` reported an old result.
    #[test]
    fn a_result_is_stale_after_three_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let tested = Verification::new(true, None, start);
        assert!(tested.verified(at(3)) && tested.failure(at(3)).is_none());
        assert!(!tested.verified(at(4)));
        assert_eq!(tested.failure(at(17)).unwrap(), "the last self-test was 17 s ago");
        let failed = Verification::new(false, Some("the gate is not loaded".to_owned()), start);
        for later in [at(0), at(17)] {
            assert!(!failed.verified(later));
            assert_eq!(failed.failure(later).unwrap(), "the gate is not loaded");
        }
        assert!(!Verification::default().verified(start), "never tested");
    }
}
