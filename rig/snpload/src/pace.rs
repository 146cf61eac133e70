//! # Pace
//!
//! When a vCPU sends its requests.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cli::Behavior;
use crate::signals::stopping;

/// When the next request is due, and whether there is one.
pub struct Pace<'a> {
    behavior: &'a Behavior,
    start: Instant,
    /// Requests done by then.
    before: u64,
    limit: Option<u64>,
    pub done: u64,
}

impl<'a> Pace<'a> {
    pub fn new(behavior: &'a Behavior) -> Self {
        Self { behavior, start: Instant::now(), before: 0, limit: behavior.limit(), done: 0 }
    }

    /// Excludes other waiting: it counts neither as time nor as a delay to catch up. Call it when a
    /// request is due.
    pub fn restart(&mut self) {
        (self.start, self.before) = (Instant::now(), self.done - 1);
    }

    /// Waits until the next request is due; false after the last.
    pub fn next(&mut self) -> bool {
        let i = self.done;
        if self.limit.is_some_and(|limit| i >= limit) {
            return false;
        }
        if let Some(rate) = self.behavior.rate {
            wait_until(self.start + Duration::from_secs_f64((i - self.before) as f64 / rate));
        } else if let (Some(burst), Some(pause)) = (self.behavior.burst, self.behavior.pause)
            && i > 0
            && i.is_multiple_of(burst)
        {
            wait_until(Instant::now() + Duration::from_millis(pause));
        }
        let over = self.behavior.seconds.is_some_and(|s| self.start.elapsed().as_secs_f64() >= s);
        if over || stopping() {
            return false;
        }
        self.done += 1;
        true
    }
}

/// Sleeps in short steps, to notice a stop soon.
pub fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        if left.is_zero() || stopping() {
            return;
        }
        sleep(left.min(Duration::from_millis(100)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;
    use clap::Parser;

    #[test]
    fn the_pace_ends() {
        let args = ["snpload", "--count", "3", "--burst", "2", "--pause", "1"];
        let behavior = Options::try_parse_from(args).unwrap().complete().behavior;
        let mut pace = Pace::new(&behavior);
        while pace.next() {}
        assert_eq!(pace.done, 3);
    }
}
