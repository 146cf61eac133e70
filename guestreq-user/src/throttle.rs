//! # Throttling of repeated reports
//!
//! Reasons that differ only in a number are the same reason. A state that flaps is reported at a
//! bounded rate, so that nobody can flood the log with it.

use std::time::{Duration, Instant};

/// A text without its numbers.
pub fn without_numbers(text: &str) -> String {
    let mut without_numbers = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        // 0xffff888003a1b200, 6.12.95 and 17 are one each.
        let continues = within && (c.is_ascii_alphanumeric() || c == '.');
        let is_digit = c.is_ascii_digit();
        if is_digit && !within {
            without_numbers.push('#');
        } else if !continues {
            without_numbers.push(c);
        }
        within = is_digit || continues;
    }
    without_numbers
}

/// Reports in a row; after them one per pause.
const IN_A_ROW: u32 = 10;
const PAUSE: Duration = Duration::from_secs(10);

/// Decides whether a state is to be reported again.
#[derive(Debug, Default)]
pub struct ReportThrottle<T> {
    last: Option<T>,
    /// How many more may be reported in a row, since when; `None` before the first report.
    left: Option<(u32, Instant)>,
}

impl<T: PartialEq> ReportThrottle<T> {
    /// Marks a state as reported.
    pub fn set_reported(&mut self, state: T) {
        self.last = Some(state);
    }

    /// Whether to report this state: it differs from the last reported one, and the rate allows it.
    /// A suppressed state is due later if it still holds.
    pub fn is_due(&mut self, state: T, now: Instant) -> bool {
        if self.last.as_ref() == Some(&state) {
            return false;
        }
        let (left, since) = self.left.unwrap_or((IN_A_ROW, now));
        let pauses = now.saturating_duration_since(since).as_secs() / PAUSE.as_secs();
        let earned = u32::try_from(pauses).unwrap_or(IN_A_ROW);
        let left = left.saturating_add(earned).min(IN_A_ROW);
        let since = if left == IN_A_ROW { now } else { since + PAUSE * earned };
        self.left = Some((left, since));
        let Some(left) = left.checked_sub(1) else { return false };
        self.left = Some((left, since));
        self.last = Some(state);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_their_numbers_are_one() {
        let passed =
            |count: u64| without_numbers(&format!("requests that passed: {count}, the last one"));
        assert_eq!(passed(1), passed(1234));
        assert_eq!(passed(1), "requests that passed: #, the last one");
        assert_eq!(without_numbers("0xffff888003a1b200 of 6.12.95, pid 7"), "# of #, pid #");
        assert_ne!(without_numbers("no gate"), without_numbers("no backend"));
        assert_eq!(without_numbers("sha256 is a name"), "sha# is a name");
    }

    #[test]
    fn a_flapping_state_is_reported_at_a_bounded_rate_and_the_last_one_always() {
        let start = Instant::now();
        let mut throttle = ReportThrottle::default();
        let changes =
            (0..3600u32).filter(|n| throttle.is_due(*n, start + Duration::from_secs(1) * *n));
        let count = changes.count();
        assert!((300..=375).contains(&count), "{count} of 3600 in an hour");
        // It has not changed since.
        let mut throttle = ReportThrottle::default();
        assert!((0..100).filter(|n| throttle.is_due(*n, start)).count() == IN_A_ROW as usize);
        assert!(!throttle.is_due(100, start + PAUSE / 2));
        assert!(throttle.is_due(100, start + PAUSE));
        assert!(!throttle.is_due(100, start + PAUSE * 100), "once");
        assert_eq!((0..100).filter(|n| throttle.is_due(*n, start + PAUSE * 100)).count(), 10);
    }
}
