//! # Times and agent ids

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp, fmt::temporal::Pieces, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A time since 1970 in milliseconds; serialized as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    pub fn now() -> Time {
        Time::from(SystemTime::now())
    }

    /// The time `duration` before now.
    pub fn ago(duration: Duration) -> Time {
        Time::now().before(duration)
    }

    pub fn before(self, duration: Duration) -> Time {
        Time::at(self.since_epoch().saturating_sub(duration))
    }

    /// The time `duration` after now.
    pub fn after(duration: Duration) -> Time {
        Time::at(Time::now().since_epoch().saturating_add(duration))
    }

    fn since_epoch(self) -> Duration {
        self.0.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs()
    }

    /// The time `since_epoch` after 1970, up to the year 9999.
    pub fn at(since_epoch: Duration) -> Time {
        let moment = SignedDuration::try_from(since_epoch).and_then(Timestamp::from_duration);
        Time::of(moment.unwrap_or(Timestamp::MAX))
    }

    /// Rounds down to milliseconds.
    fn of(moment: Timestamp) -> Time {
        let excess = i64::from(moment.subsec_nanosecond() % 1_000_000);
        Time(moment - SignedDuration::from_nanos(excess))
    }

    /// RFC 3339, without a fraction of seconds.
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

/// Parses RFC 3339 and forms of ISO 8601 such as `+0200`; without an offset it is UTC.
impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Time, NotATime> {
        let pieces = Pieces::parse(text).map_err(|_| NotATime)?;
        // Zone names need a table of zones; a date alone has no clear zone.
        if pieces.time_zone_annotation().is_some() {
            return Err(NotATime);
        }
        let civil = pieces.date().to_datetime(pieces.time().ok_or(NotATime)?);
        let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
        let moment = offset.to_timestamp(civil).map_err(|_| NotATime)?;
        (moment >= Timestamp::UNIX_EPOCH).then(|| Time::of(moment)).ok_or(NotATime)
    }
}

/// Has no details: callers print the accepted forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATime;

impl fmt::Display for NotATime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 time since 1970")
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

/// Identifies a run of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentId(u64);

impl AgentId {
    /// A new id: no two agents of a host start in the same nanosecond.
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
    fn a_time_has_milliseconds_in_utc() {
        let time = Time::at(Duration::from_nanos(1_700_000_000_123_456_789));
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        assert_eq!(time.to_the_second(), "2023-11-14T22:13:20Z");
        assert_eq!(Time::at(Duration::MAX).to_string(), "9999-12-30T22:00:00.999Z");
        assert_eq!(time.before(Duration::MAX), Time::at(Duration::ZERO));
    }

    #[test]
    fn an_agent_id_survives_formatting_and_is_unique() {
        let id = AgentId(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(AgentId::begin(), id);
    }
}
