//! # What is told again and again
//!
//! A reason with a number in it is another text each time that the number moves, and the same
//! reason. And what comes and goes is told at a bounded rate, or whoever makes it do so writes the
//! log.

use std::time::{Duration, Instant};

/// A text without its numbers.
pub fn without_numbers(text: &str) -> String {
    let mut without_numbers = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        // 0xffff888003a1b200, 6.12.95 and 17 are one each.
        let goes_on = within && (c.is_ascii_alphanumeric() || c == '.');
        let begins = c.is_ascii_digit();
        if begins && !within {
            without_numbers.push('#');
        } else if !goes_on {
            without_numbers.push(c);
        }
        within = begins || goes_on;
    }
    without_numbers
}

/// So many are told in a row; then one after each pause.
const IN_A_ROW: u32 = 10;
const PAUSE: Duration = Duration::from_secs(10);

/// What was told last of something that has a state, and whether to tell it again.
#[derive(Debug, Default)]
pub struct ReportThrottle<T> {
    last: Option<T>,
    /// How many more may be told in a row, if it has been told at all.
    left: Option<(u32, Instant)>,
}

impl<T: PartialEq> ReportThrottle<T> {
    /// What holds, and need not be told.
    pub fn knows(&mut self, state: T) {
        self.last = Some(state);
    }

    /// Whether to tell what holds now: it is another state than was told last, and not too many
    /// were. What was not told is the next time, if it still holds.
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
    fn what_changes_all_the_time_is_told_at_a_bounded_rate_and_its_last_state_is_told() {
        let start = Instant::now();
        let mut told = ReportThrottle::default();
        let changes = (0..3600u32).filter(|n| told.is_due(*n, start + Duration::from_secs(1) * *n));
        let count = changes.count();
        assert!((300..=375).contains(&count), "{count} of 3600 in an hour");
        // It stands still since.
        let mut told = ReportThrottle::default();
        assert!((0..100).filter(|n| told.is_due(*n, start)).count() == IN_A_ROW as usize);
        assert!(!told.is_due(100, start + PAUSE / 2));
        assert!(told.is_due(100, start + PAUSE));
        assert!(!told.is_due(100, start + PAUSE * 100), "once");
        assert_eq!((0..100).filter(|n| told.is_due(*n, start + PAUSE * 100)).count(), 10);
    }
}
