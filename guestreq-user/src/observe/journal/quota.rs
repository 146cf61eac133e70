//! # A bounded rate of log lines

use std::time::{Duration, Instant};

/// Events that are logged per second.
const PER_SECOND: u32 = 10;

/// Admits [`PER_SECOND`].
pub struct EventQuota {
    second: Instant,
    admitted: u32,
    suppressed: u64,
}

impl EventQuota {
    pub fn new(now: Instant) -> EventQuota {
        EventQuota { second: now, admitted: 0, suppressed: 0 }
    }

    /// Whether to log now; if so, how many were suppressed since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.admitted = 0;
        }
        if self.admitted >= PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_at_a_bounded_rate_with_a_count_of_the_rest() {
        let start = Instant::now();
        let mut limit = EventQuota::new(start);
        let logged = (0..1000).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(logged, PER_SECOND as usize);
        assert_eq!(limit.admit(start + Duration::from_secs(1)), Some(990));
        assert_eq!(limit.admit(start + Duration::from_secs(1)), Some(0));
    }
}
