//! # When, and in which life

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp, fmt::temporal::Pieces, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment since 1970, to the millisecond; writes itself as RFC 3339, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    pub fn now() -> Time {
        Time::from(SystemTime::now())
    }

    /// The moment that was so long ago.
    pub fn ago(duration: Duration) -> Time {
        Time::now().before(duration)
    }

    pub fn before(self, duration: Duration) -> Time {
        let since_epoch = self.0.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
        Time::at(since_epoch.saturating_sub(duration))
    }

    /// A moment so long after the epoch; beyond the year 9999 there is none.
    pub fn at(since_epoch: Duration) -> Time {
        let moment = SignedDuration::try_from(since_epoch).and_then(Timestamp::from_duration);
        Time::of(moment.unwrap_or(Timestamp::MAX))
    }

    /// The millisecond that a moment after 1970 is in.
    fn of(moment: Timestamp) -> Time {
        let beyond = i64::from(moment.subsec_nanosecond() % 1_000_000);
        Time(moment - SignedDuration::from_nanos(beyond))
    }

    /// As RFC 3339, without the fraction of its second.
    pub fn to_the_second(self) -> String {
        format!("{:.0}", self.0)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        Time::at(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

/// Reads RFC 3339 and what ISO 8601 has beside it, as `+0200`; without an offset it is UTC.
impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Time, NotATime> {
        let pieces = Pieces::parse(text).map_err(|_| NotATime)?;
        // A zone's name would need a table of zones; a date alone may be meant in any.
        if pieces.time_zone_annotation().is_some() {
            return Err(NotATime);
        }
        let civil = pieces.date().to_datetime(pieces.time().ok_or(NotATime)?);
        let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
        let moment = offset.to_timestamp(civil).map_err(|_| NotATime)?;
        (moment >= Timestamp::UNIX_EPOCH).then(|| Time::of(moment)).ok_or(NotATime)
    }
}

/// Not even what is wrong: it would take as much code as to read one, and who asks is told what is
/// right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATime;

impl fmt::Display for NotATime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a moment since 1970, as RFC 3339 has it")
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
pub struct AgentId(u64);

impl AgentId {
    /// One that begins now: no two agents of a host start in the same nanosecond.
    pub fn begin() -> AgentId {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        AgentId(since.as_nanos() as u64)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for AgentId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<AgentId, Self::Err> {
        u64::from_str_radix(text, 16).map(AgentId)
    }
}

impl Serialize for AgentId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<AgentId, D::Error> {
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
        assert_eq!(time.to_the_second(), "2023-11-14T22:13:20Z");
        assert_eq!(Time::at(Duration::MAX).to_string(), "9999-12-30T22:00:00.999Z");
        assert_eq!(time.before(Duration::MAX), Time::at(Duration::ZERO));
    }

    #[test]
    fn a_life_has_a_name_of_its_own() {
        let life = AgentId(0xab);
        assert_eq!(life.to_string(), "00000000000000ab");
        assert_eq!(life.to_string().parse(), Ok(life));
        assert_ne!(AgentId::begin(), life);
    }
}
