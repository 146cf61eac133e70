//! # When, and in which life

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment, to the millisecond; reads and writes itself as RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    since_epoch: Duration,
}

impl Time {
    pub fn now() -> Time {
        Time::from(SystemTime::now())
    }

    /// The moment that was so long ago.
    pub fn ago(duration: Duration) -> Time {
        Time::now().before(duration)
    }

    pub fn before(self, duration: Duration) -> Time {
        Time::at(self.since_epoch.saturating_sub(duration))
    }

    /// A moment so long after the epoch; beyond the year 9999 there is none.
    pub fn at(since_epoch: Duration) -> Time {
        const LAST: Duration = Duration::from_secs(253_402_300_799);
        let since_epoch = since_epoch.min(LAST);
        Time { since_epoch: Duration::from_millis(since_epoch.as_millis() as u64) }
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        Time::at(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + self.since_epoch).fmt(f)
    }
}

impl FromStr for Time {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Time, Self::Err> {
        humantime::parse_rfc3339_weak(text).map(Time::from)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// An agent's life: a number that no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(u64);

impl Life {
    /// One that begins now: no two agents of a host start in the same nanosecond.
    pub fn begin() -> Life {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Life(since.as_nanos() as u64)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Life {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Life, Self::Err> {
        u64::from_str_radix(text, 16).map(Life)
    }
}

impl Serialize for Life {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Life {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Life, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_and_writes_itself_to_the_millisecond_in_utc() {
        let time = Time::at(Duration::from_nanos(1_700_000_000_123_456_789));
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        assert_eq!(Time::at(Duration::MAX).to_string(), "9999-12-31T23:59:59.000Z");
        assert_eq!(time.before(Duration::MAX), Time::at(Duration::ZERO));
    }

    #[test]
    fn a_life_has_a_name_of_its_own() {
        let life = Life(0xab);
        assert_eq!(life.to_string(), "00000000000000ab");
        assert_eq!(life.to_string().parse(), Ok(life));
        assert_ne!(Life::begin(), life);
    }
}
