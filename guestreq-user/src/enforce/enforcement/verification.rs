//! # What trying has shown, and when
//!
//! It is tried each second. Where it was not, as the agent hung or was not let run, what it showed
//! is not told as if it held now.

use std::time::{Duration, Instant};

const FRESH: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Verification {
    verified: bool,
    trouble: Option<String>,
    at: Option<Instant>,
}

impl Verification {
    pub fn new(verified: bool, trouble: Option<String>, now: Instant) -> Verification {
        Verification { verified, trouble, at: Some(now) }
    }

    /// Whether it works.
    pub fn verified(&self, now: Instant) -> bool {
        self.verified && self.stale(now).is_none()
    }

    /// Why that is not known, or why it does not.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        let stale = || self.stale(now).filter(|_| self.verified);
        self.trouble
            .clone()
            .or_else(|| stale().map(|age| format!("it was last tried {} s ago", age.as_secs())))
    }

    fn stale(&self, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.at?);
        (age > FRESH).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 1 of the second review: after a stall, `/readyz` told what held before.
    #[test]
    fn what_was_not_tried_for_three_seconds_is_not_verified_any_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let tried = Verification::new(true, None, start);
        assert!(tried.verified(at(3)) && tried.trouble(at(3)).is_none());
        assert!(!tried.verified(at(4)));
        assert_eq!(tried.trouble(at(17)).unwrap(), "it was last tried 17 s ago");
        let failed = Verification::new(false, Some("the gate is not loaded".to_owned()), start);
        for later in [at(0), at(17)] {
            assert!(!failed.verified(later));
            assert_eq!(failed.trouble(later).unwrap(), "the gate is not loaded");
        }
        assert!(!Verification::default().verified(start), "nobody has tried");
    }
}
