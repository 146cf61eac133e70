//! # Repeated KVM_RUNs
//!
//! Every VMM repeats KVM_RUN after EINTR and EAGAIN. A vCPU whose calls fail with these in a row is
//! held.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, Default)]
pub struct Reruns {
    pub count: u64,
    /// from the first failed call of a row to the last
    pub held: Duration,
    last: Option<Instant>,
}

impl Reruns {
    /// Whether to repeat after this errno; if so, counts it.
    pub fn repeat(&mut self, errno: i32) -> bool {
        if errno != libc::EINTR && errno != libc::EAGAIN {
            return false;
        }
        let now = Instant::now();
        self.count += 1;
        self.held += self.last.map_or(Duration::ZERO, |last| now.duration_since(last));
        self.last = Some(now);
        true
    }

    /// Ends a row: the vCPU ran, or failed for good.
    pub fn over(&mut self) {
        self.last = None;
    }

    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.held += other.held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    #[test]
    fn held_from_the_first_failure_to_the_last() {
        let mut reruns = Reruns::default();
        assert!(reruns.repeat(libc::EINTR));
        assert_eq!(reruns.held, Duration::ZERO);
        sleep(Duration::from_millis(2));
        assert!(reruns.repeat(libc::EAGAIN));
        let held = reruns.held;
        assert!(held >= Duration::from_millis(2));

        reruns.over();
        sleep(Duration::from_millis(2));
        assert!(reruns.repeat(libc::EAGAIN));
        assert_eq!((reruns.count, reruns.held), (3, held), "what it ran is not held");
    }

    #[test]
    fn other_failures_are_not_repeated() {
        let mut reruns = Reruns::default();
        assert!(!reruns.repeat(libc::EPERM) && !reruns.repeat(libc::EIO));
        assert_eq!(reruns.count, 0);
    }
}
