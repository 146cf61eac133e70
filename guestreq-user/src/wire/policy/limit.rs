//! # Limits

use std::fmt;

use guestreq_common::{
    gcra::{GcraLimit, MAX_BURST},
    share::PspShare,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use super::{Burst, Rate, Share, ShareBurst};

/// `"off"`, or a rate with a burst, a share of the PSP with a burst, or both: `{"rate": "5/s",
/// "burst": 10}`, `{"share": "10%", "burst": "200ms"}`, `{"rate": "5/s", "share": "10%", "burst":
/// [10, "200ms"]}`; with `"force": true` if it is so low that messages of well-behaved guests
/// would be admitted over it, after 30 s of BUSY.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    Off,
    On(Throttle),
}

/// At least one of the two; a request must conform to both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throttle {
    pub rate: Option<RateLimit>,
    pub share: Option<ShareLimit>,
    /// Accepts that well-behaved guests may wait until they are rescued.
    pub force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    pub rate: Rate,
    /// Requests that may come at once.
    pub burst: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareLimit {
    pub share: Share,
    /// PSP time that may be used at once, and a request beyond it; `None`: the larger of 200 ms and
    /// four services.
    pub burst: Option<ShareBurst>,
}

/// The default burst: one second's worth, and at least one request per VMPCK, so that a guest that
/// uses all of them at boot does not get BUSY.
fn default_burst(rate: Rate) -> u64 {
    // Rounds off the error of the interval: 9/s is stored as 111,111,111 ns.
    let per_second = (rate.per_second() * 1e3).round() / 1e3;
    (per_second.ceil() as u64).clamp(guestreq_common::message::VMPCKS as u64, MAX_BURST)
}

impl Throttle {
    /// From what users give: a burst belongs to the rate or the share by its unit, and each may have
    /// one. `Err` says what is missing or too much.
    pub fn new(
        rate: Option<Rate>,
        share: Option<Share>,
        bursts: &[Burst],
        force: bool,
    ) -> Result<Throttle, String> {
        if rate.is_none() && share.is_none() {
            return Err(
                "a limit needs a rate such as \"5/s\" or a share such as \"10%\"".to_owned()
            );
        }
        let (mut of_rate, mut of_share) = (None, None);
        for burst in bursts {
            let twice = match *burst {
                Burst::Requests(requests) if rate.is_some() => of_rate.replace(requests).is_some(),
                Burst::Time(time) if share.is_some() => of_share.replace(time).is_some(),
                Burst::Requests(requests) => {
                    return Err(format!(
                        "a burst of {requests} requests needs a rate; a share's burst is a time \
                         such as \"200ms\""
                    ));
                }
                Burst::Time(time) => {
                    return Err(format!(
                        "a burst of {time} needs a share; a rate's burst is a number of requests"
                    ));
                }
            };
            if twice {
                return Err("two bursts of the same kind".to_owned());
            }
        }
        Ok(Throttle {
            rate: rate.map(|rate| RateLimit {
                rate,
                burst: of_rate.unwrap_or_else(|| default_burst(rate)),
            }),
            share: share.map(|share| ShareLimit { share, burst: of_share }),
            force,
        })
    }
}

impl Limit {
    /// A rate alone.
    pub fn of_rate(rate: Rate, burst: u64) -> Limit {
        let rate = Some(RateLimit { rate, burst });
        Limit::On(Throttle { rate, ..Throttle::default() })
    }

    /// A share alone, with the default burst.
    pub fn of_share(share: Share) -> Limit {
        let share = Some(ShareLimit { share, burst: None });
        Limit::On(Throttle { share, ..Throttle::default() })
    }

    /// The rate as the eBPF programs read it.
    pub fn to_gcra(self) -> GcraLimit {
        match self {
            // Deserialization bounds both: the fallback is never used.
            Limit::On(Throttle { rate: Some(RateLimit { rate, burst }), .. }) => {
                GcraLimit::new(rate.interval_ns(), burst).unwrap_or(GcraLimit::OFF)
            }
            _ => GcraLimit::OFF,
        }
    }

    /// The share as the eBPF programs read it.
    pub fn to_psp_share(self) -> PspShare {
        match self {
            // The same.
            Limit::On(Throttle { share: Some(ShareLimit { share, burst }), .. }) => {
                PspShare::new(share.ppm(), burst.map_or(0, ShareBurst::ns)).unwrap_or(PspShare::OFF)
            }
            _ => PspShare::OFF,
        }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, burst {}", self.rate, self.burst)
    }
}

impl fmt::Display for ShareLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the PSP", self.share)?;
        self.burst.map_or(Ok(()), |burst| write!(f, ", burst {burst}"))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit::On(Throttle { rate, share, .. }) = self else { return f.write_str("off") };
        match (rate, share) {
            (Some(rate), Some(share)) => write!(f, "{rate}, and {share}"),
            (Some(rate), None) => rate.fmt(f),
            (None, Some(share)) => share.fmt(f),
            (None, None) => f.write_str("off"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Limit::On(Throttle { rate, share, force }) = self else {
            return to.serialize_str("off");
        };
        let mut map = to.serialize_map(None)?;
        let mut bursts = Vec::new();
        if let Some(RateLimit { rate, burst }) = rate {
            map.serialize_entry("rate", rate)?;
            bursts.push(Burst::Requests(*burst));
        }
        if let Some(ShareLimit { share, burst }) = share {
            map.serialize_entry("share", share)?;
            bursts.extend(burst.map(Burst::Time));
        }
        match bursts.as_slice() {
            [] => {}
            [one] => map.serialize_entry("burst", one)?,
            both => map.serialize_entry("burst", both)?,
        }
        if *force {
            map.serialize_entry("force", force)?;
        }
        map.end()
    }
}

/// A throttle as written in files and requests. The comments become descriptions in the JSON Schema
/// and rows in docs/policy.md.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Table {
    /// How many requests the VM may send
    ///
    /// Values: a number per `s`, `min` or `m`, or `h`: `"1/h"` to `"1000000/s"`
    rate: Option<Rate>,
    /// How much of the PSP's time the VM's requests may take
    ///
    /// Values: `"0.01%"` to `"100%"`, at most four digits behind the point
    share: Option<Share>,
    /// What may be used at once after a quiet period: requests of a rate, or PSP time of a share, and
    /// one request beyond it
    ///
    /// Values: of a rate 1 to 1048575; of a share `"1ms"` to `"60s"`; with both `[10, "200ms"]`
    ///
    /// Default: of a rate a second's worth, at least 4; of a share the larger of 200 ms and four mean
    /// service times
    #[serde(default, deserialize_with = "bursts")]
    #[cfg_attr(test, schemars(schema_with = "super::schema::bursts"))]
    burst: Vec<Burst>,
    /// Accepts a limit that is [too low](enforcement.md#bounds-and-rules) for a guest's four VMPCKs
    ///
    /// Values: `true`, `false`
    #[serde(default)]
    force: bool,
}

/// One burst, or one of each kind.
fn bursts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Burst>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<Burst>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a burst: requests of a rate (10), PSP time of a share (\"200ms\"), or both ([10, \
                 \"200ms\"])",
            )
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vec<Burst>, E> {
            Ok(vec![Burst::of_number(number)?])
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<Burst>, E> {
            Ok(vec![Burst::of_signed(number)?])
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Burst>, E> {
            text.parse().map(|burst| vec![Burst::Time(burst)]).map_err(E::custom)
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut all: A) -> Result<Vec<Burst>, A::Error> {
            let mut bursts = Vec::new();
            while let Some(burst) = all.next_element()? {
                bursts.push(burst);
            }
            Ok(bursts)
        }
    }
    from.deserialize_any(Visitor)
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Limit, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"off\", a rate and a burst: { rate = \"5/s\", burst = 10 }, or a share of the \
                     PSP: { share = \"10%\" }",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                match text {
                    "off" => Ok(Limit::Off),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
                let Table { rate, share, burst, force } =
                    Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let throttle = Throttle::new(rate, share, &burst, force);
                throttle.map(Limit::On).map_err(de::Error::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
    fn a_share_is_a_limit_alone_or_beside_a_rate() {
        let share = read(r#"{"share": "10%", "burst": "200ms"}"#).unwrap();
        assert_eq!(share.to_string(), "10% of the PSP, burst 200ms");
        let psp_share = share.to_psp_share();
        assert_eq!((psp_share.ppm(), psp_share.burst_ns()), (100_000, 200_000_000));
        assert!(share.to_gcra().is_off());
        let both = read(r#"{"rate": "5/s", "share": "10%"}"#).unwrap();
        assert_eq!(both.to_string(), "5/s, burst 5, and 10% of the PSP");
        assert_eq!((both.to_gcra().burst(), both.to_psp_share().burst_ns()), (5, 0));
        assert!(read(r#"{"rate": "5/s"}"#).unwrap().to_psp_share().is_off());
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
        assert!(error(r#""of""#).contains("expected \"off\", a rate and a burst"));
        assert!(error("5").contains("expected \"off\", a rate and a burst"));
        assert!(error("{}").contains("a limit needs a rate such as \"5/s\" or a share"));
        assert!(error(r#"{"rate": 5}"#).contains("expected a rate such as"));
        assert!(error(r#"{"rate": "0/s"}"#).contains("allowed are 1/h to 1000000/s"));
        for burst in ["0", "-1", "1048576"] {
            let error = error(&format!(r#"{{"rate": "5/s", "burst": {burst}}}"#));
            assert!(error.contains("is not a burst: 1 to 1048575 requests"), "{error}");
        }
        let of = |burst: &str| error(&format!(r#"{{"rate": "5/s", "burst": {burst}}}"#));
        assert!(of("1.5").contains("expected a burst: requests of a rate (10)"));
        assert!(of("\"2\"").contains("\"2\" is not a time of 1ms to 60s, such as \"200ms\""));
        assert!(of("\"200ms\"").contains("a burst of 200ms needs a share"));
        assert!(of("[1, 2]").contains("two bursts of the same kind"));
        assert!(
            error(r#"{"share": "5%", "burst": 4}"#).contains("a burst of 4 requests needs a rate")
        );
        assert!(
            error(r#"{"rate": "5/s", "per": 1}"#).contains("`rate`, `share`, `burst`, `force`")
        );
    }

    #[test]
    fn a_limit_is_serialized_as_it_was_written() {
        for text in [
            r#""off""#,
            r#"{"rate":"5/s","burst":10}"#,
            r#"{"rate":"1/m","burst":1,"force":true}"#,
            r#"{"share":"10%"}"#,
            r#"{"share":"0.5%","burst":"1s500ms"}"#,
            r#"{"rate":"5/s","share":"10%","burst":10}"#,
            r#"{"rate":"5/s","share":"10%","burst":[10,"200ms"],"force":true}"#,
        ] {
            let limit = read(text).unwrap();
            assert_eq!(serde_json::to_string(&limit).unwrap(), text);
            // Whose numbers are signed.
            let file = toml::to_string(&BTreeMap::from([("limit", &limit)])).unwrap();
            let mut of_file: BTreeMap<String, Limit> = toml::from_str(&file).unwrap();
            assert_eq!(of_file.remove("limit"), Some(limit), "{file}");
        }
    }
}
