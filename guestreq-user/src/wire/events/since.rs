//! # Parsing `--since`

use std::{fmt, str::FromStr, time::Duration};

use super::Time;

/// A past time: absolute, or a duration before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(pub Time);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        let moment = match text.strip_prefix('@') {
            Some(seconds) => unix(seconds),
            None => text.parse().ok(),
        };
        let ago = || humantime::parse_duration(text).ok().map(Time::ago);
        moment.or_else(ago).map(Since).ok_or_else(|| {
            "not a time: give 10m or 1h30m (ago), 2026-01-31T12:00:00Z or …+02:00 (UTC without an \
             offset), or @ and seconds since 1970"
                .to_owned()
        })
    }
}

fn unix(seconds: &str) -> Option<Time> {
    // f64 also parses "nan" and "inf".
    seconds.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok().map(Time::at)
}

/// Absolute, so that the agent's clock does not matter.
impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(text: &str) -> Result<String, String> {
        text.parse().map(|since: Since| since.to_string())
    }

    /// Forms that people paste from container logs, journalctl and date(1).
    const MOMENTS: &[(&str, &str)] = &[
        ("@1700000000.5", "2023-11-14T22:13:20.500Z"),
        ("@1741748564", "2025-03-12T03:02:44.000Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31 12:00:00", "2026-01-31T12:00:00.000Z"),
        ("2024-12-06 09:14:26", "2024-12-06T09:14:26.000Z"),
        // Offsets in all forms, also after a fraction.
        ("2019-10-02T13:21:36.927620189+02:00", "2019-10-02T11:21:36.927Z"),
        ("2024-07-17T12:12:06.223+02:00", "2024-07-17T10:12:06.223Z"),
        ("2024-01-15T10:30:00.000000000+00:00", "2024-01-15T10:30:00.000Z"),
        ("2025-03-12T03:02:44+0100", "2025-03-12T02:02:44.000Z"),
        ("2025-03-12T03:02:44.5+0100", "2025-03-12T02:02:44.500Z"),
        ("2025-03-12T03:02:44+01", "2025-03-12T02:02:44.000Z"),
        ("2025-03-12T03:02:44-00:00", "2025-03-12T03:02:44.000Z"),
        ("2025-03-12 03:02:44.25-09:30", "2025-03-12T12:32:44.250Z"),
        ("2025-01-01T00:30:00+01:00", "2024-12-31T23:30:00.000Z"),
        ("2025-03-12t03:02:44z", "2025-03-12T03:02:44.000Z"),
        ("2025-03-12t03:02:44.125+02:00", "2025-03-12T01:02:44.125Z"),
        ("2025-03-12T03:02:44,125+02:00", "2025-03-12T01:02:44.125Z"),
        ("2025-03-12T03:02:44.123456789Z", "2025-03-12T03:02:44.123Z"),
        // A leap second counts as the second before it.
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
        ("2017-01-01T01:59:60+02:00", "2016-12-31T23:59:59.000Z"),
        ("9999-01-01T00:00:00Z", "9999-01-01T00:00:00.000Z"),
        ("1970-01-01T02:00:00+02:00", "1970-01-01T00:00:00.000Z"),
    ];

    #[test]
    fn absolute_times_are_parsed() {
        for (text, moment) in MOMENTS {
            assert_eq!(since(text).as_deref(), Ok(*moment), "{text}");
        }
    }

    #[test]
    fn a_duration_means_before_now() {
        for (text, minutes) in [("10m", 10), ("1h30m", 90), ("1 hour", 60)] {
            let Since(ago) = text.parse().unwrap();
            let exactly = Duration::from_secs(minutes * 60);
            assert!(ago <= Time::ago(exactly), "{text}");
            assert!(ago > Time::ago(exactly + Duration::from_secs(30)), "{text}");
        }
        assert!("100000years".parse::<Since>().is_ok(), "longer than since 1970");
    }

    #[test]
    fn the_error_for_an_invalid_time_has_examples() {
        let refused = [
            "",
            "10",
            "yesterday",
            "1 hour ago",
            "@",
            "@-1",
            "@nan",
            "@1e99",
            "@ 1741748564",
            "2026-13-01T00:00:00Z",
            "2026-01-31",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00+25:99",
            "2026-01-31T12:00:00+",
            // A + that was not encoded as %2B in a URL.
            "2026-01-31T12:00:00 02:00",
            "2026-01-31T12:00:00.1234567890Z",
            "2026-01-31T12:00:00[Europe/Berlin]",
            "2026-01-31T12:00:00+01:00[Europe/Berlin]",
            "2026-01-31T12:00:00 CET",
            " 2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00Z ",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+02:00",
            "-000001-01-01T00:00:00Z",
            "+010000-01-01T00:00:00Z",
        ];
        for text in refused {
            let error = since(text).unwrap_err();
            assert!(error.contains("give 10m"), "{text}: {error}");
        }
    }
}
