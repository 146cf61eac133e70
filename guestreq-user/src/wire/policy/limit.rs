//! # Limits

use std::fmt;

use guestreq_common::gcra::{GcraLimit, MAX_BURST};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Rate;

/// `"off"`, or a rate and a burst: `{"rate": "5/s", "burst": 10}`, with `"force": true` if it is so
/// low that guests may lose VMPCKs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    Off,
    On(Throttle),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Throttle {
    pub rate: Rate,
    pub burst: u64,
    /// Accepts that guests may lose VMPCKs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// The default burst: one second's worth, and at least one request per VMPCK, so that a guest that
/// uses all of them at boot does not get BUSY.
pub fn default_burst(rate: Rate) -> u64 {
    // Rounds off the error of the interval: 9/s is stored as 111,111,111 ns.
    let per_second = (rate.per_second() * 1e3).round() / 1e3;
    (per_second.ceil() as u64).clamp(guestreq_common::message::VMPCKS as u64, MAX_BURST)
}

impl Limit {
    /// As the eBPF programs read it.
    pub fn to_gcra(self) -> GcraLimit {
        match self {
            Limit::Off => GcraLimit::OFF,
            // Deserialization bounds both: the fallback is never used.
            Limit::On(Throttle { rate, burst, .. }) => {
                GcraLimit::new(rate.interval_ns(), burst).unwrap_or(GcraLimit::OFF)
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Off => f.write_str("off"),
            Limit::On(Throttle { rate, burst, .. }) => write!(f, "{rate}, burst {burst}"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Limit::Off => to.serialize_str("off"),
            Limit::On(throttle) => throttle.serialize(to),
        }
    }
}

/// A throttle as written in files and requests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rate: Rate,
    burst: Option<Burst>,
    #[serde(default)]
    force: bool,
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Limit, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", or a rate and a burst: { rate = \"5/s\", burst = 10 }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                match text {
                    "off" => Ok(Limit::Off),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let burst = table.burst.map_or_else(|| default_burst(table.rate), |burst| burst.0);
                Ok(Limit::On(Throttle { rate: table.rate, burst, force: table.force }))
            }
        }
        from.deserialize_any(Visitor)
    }
}

struct Burst(u64);

impl<'de> Deserialize<'de> for Burst {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Burst, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Burst;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a burst of 1 to {MAX_BURST} requests")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Burst, E> {
                if !(1..=MAX_BURST).contains(&number) {
                    return Err(E::invalid_value(de::Unexpected::Unsigned(number), &self));
                }
                Ok(Burst(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Burst, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Limit, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_limit_is_off_or_a_rate_and_a_burst() {
        assert_eq!(read(r#""off""#), Ok(Limit::Off));
        let limit = read(r#"{"rate": "5/s", "burst": 10}"#).unwrap();
        assert_eq!(limit.to_string(), "5/s, burst 10");
        let gcra = limit.to_gcra();
        assert_eq!((gcra.interval_ns(), gcra.burst()), (200_000_000, 10));
        assert!(Limit::Off.to_gcra().is_off());
    }

    #[test]
    fn the_default_burst_is_one_second_s_worth_and_at_least_one_per_vmpck() {
        let burst = |rate: &str| default_burst(rate.parse().unwrap());
        assert_eq!(burst("20/s"), 20);
        assert_eq!(burst("9/s"), 9);
        assert_eq!(burst("5.5/s"), 6);
        assert_eq!(burst("1/s"), 4);
        assert_eq!(burst("10/m"), 4);
        assert_eq!(read(r#"{"rate": "20/s"}"#).unwrap().to_string(), "20/s, burst 20");
    }

    #[test]
    fn errors_list_what_is_allowed() {
        let error = |text: &str| read(text).unwrap_err();
        assert!(error(r#""of""#).contains("expected \"off\", or a rate and a burst"));
        assert!(error("5").contains("expected \"off\", or a rate and a burst"));
        assert!(error("{}").contains("missing field `rate`"));
        assert!(error(r#"{"rate": 5}"#).contains("expected a rate such as"));
        assert!(error(r#"{"rate": "0/s"}"#).contains("allowed are 1/h to 1000000/s"));
        for burst in ["0", "-1", "1048576", "1.5", "\"2\""] {
            let error = error(&format!(r#"{{"rate": "5/s", "burst": {burst}}}"#));
            assert!(error.contains("expected a burst of 1 to 1048575 requests"), "{error}");
        }
        assert!(error(r#"{"rate": "5/s", "per": 1}"#).contains("`rate`, `burst`, `force`"));
    }

    #[test]
    fn a_limit_is_serialized_as_it_was_written() {
        for text in
            [r#""off""#, r#"{"rate":"5/s","burst":10}"#, r#"{"rate":"1/m","burst":1,"force":true}"#]
        {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
    }
}
