//! # Since when

use std::{fmt, str::FromStr, time::Duration};

use super::Time;

/// A moment in the past as people give it.
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
            "not a time: as 10m or 1h30m for so long ago, 2026-01-31T12:00:00Z, or @ and the \
             seconds since 1970"
                .to_owned()
        })
    }
}

fn unix(seconds: &str) -> Option<Time> {
    // "nan" and "inf" are numbers, too.
    seconds.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok().map(Time::at)
}

/// As the agent reads it, whatever its clock says.
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

    #[test]
    fn a_moment_is_given_as_people_give_it() {
        assert_eq!(since("@1700000000.5"), Ok("2023-11-14T22:13:20.500Z".to_owned()));
        assert_eq!(since("2026-01-31T12:00:00Z"), Ok("2026-01-31T12:00:00.000Z".to_owned()));
        assert_eq!(since("2026-01-31 12:00:00"), Ok("2026-01-31T12:00:00.000Z".to_owned()));
        let Since(ago) = "1h30m".parse().unwrap();
        assert!(ago <= Time::ago(Duration::from_secs(5400)));
        assert!(ago > Time::ago(Duration::from_secs(5430)));
        assert!("100000years".parse::<Since>().is_ok(), "before all that was");
    }

    #[test]
    fn what_is_no_time_is_told_with_what_is() {
        for text in ["", "10", "yesterday", "@", "@-1", "@nan", "@1e99", "2026-13-01T00:00:00Z"] {
            let error = since(text).unwrap_err();
            assert!(error.contains("as 10m"), "{text}: {error}");
        }
    }
}
