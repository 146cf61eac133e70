//! # Shares of the PSP, such as `10%`, and bursts of either kind

use std::{fmt, str::FromStr, time::Duration};

use guestreq_common::{
    gcra::MAX_BURST,
    share::{MAX_BURST_NS, MAX_PPM, MIN_BURST_NS, MIN_PPM},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Parts per million in a percent.
const PPM_OF_PERCENT: u64 = 10_000;

/// A share of the PSP's time, from 0.01% to 100%.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    ppm: u64,
}

impl Share {
    pub const ALL: Share = Share { ppm: MAX_PPM };

    pub fn of_ppm(ppm: u64) -> Option<Share> {
        (MIN_PPM..=MAX_PPM).contains(&ppm).then_some(Share { ppm })
    }

    /// Parts per million.
    pub fn ppm(self) -> u64 {
        self.ppm
    }

    /// From 0 to 1.
    pub fn fraction(self) -> f64 {
        self.ppm as f64 / MAX_PPM as f64
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let invalid =
            || format!("{text:?} is not a share: a percentage of the PSP's time, such as \"10%\"");
        let number = text.strip_suffix('%').ok_or_else(invalid)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(part) || number.ends_with('.') {
            return Err(invalid());
        }
        let range = || format!("{text:?} is out of range: allowed are 0.01% to 100%");
        let whole: u64 = whole.parse().map_err(|_| range())?;
        let part = part.trim_end_matches('0');
        if part.len() > 4 {
            return Err(format!("{text:?} has too many digits: four behind the point are stored"));
        }
        let part: u64 = format!("{part:0<4}").parse().map_err(|_| invalid())?;
        let ppm = whole.checked_mul(PPM_OF_PERCENT).and_then(|ppm| ppm.checked_add(part));
        ppm.and_then(Share::of_ppm).ok_or_else(range)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.ppm / PPM_OF_PERCENT, self.ppm % PPM_OF_PERCENT);
        if part == 0 {
            return write!(f, "{whole}%");
        }
        let part = format!("{part:04}");
        write!(f, "{whole}.{}%", part.trim_end_matches('0'))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Share, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as \"10%\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Share, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Visitor)
    }
}

/// PSP time that may be used at once, from 1ms to 60s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareBurst {
    ns: u64,
}

impl ShareBurst {
    pub fn ns(self) -> u64 {
        self.ns
    }
}

impl FromStr for ShareBurst {
    type Err = String;

    fn from_str(text: &str) -> Result<ShareBurst, String> {
        let time = humantime::parse_duration(text).ok();
        let ns = time.and_then(|time| u64::try_from(time.as_nanos()).ok());
        match ns.filter(|ns| (MIN_BURST_NS..=MAX_BURST_NS).contains(ns)) {
            Some(ns) => Ok(ShareBurst { ns }),
            None => Err(format!("{text:?} is not a time of 1ms to 60s, such as \"200ms\"")),
        }
    }
}

impl fmt::Display for ShareBurst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(Duration::from_nanos(self.ns)).to_string();
        // "1s 500ms" is read back, and no unit of a second part looks like another option.
        f.write_str(&text.replace(' ', ""))
    }
}

/// A burst of a rate or of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burst {
    Requests(u64),
    Time(ShareBurst),
}

impl Burst {
    pub const ALLOWED: &str =
        "1 to 1048575 requests of a rate, or a time of 1ms to 60s of a share, such as \"200ms\"";

    pub fn of_number<E: de::Error>(number: u64) -> Result<Burst, E> {
        number.to_string().parse().map_err(E::custom)
    }

    pub fn of_signed<E: de::Error>(number: i64) -> Result<Burst, E> {
        match u64::try_from(number) {
            Ok(number) => Burst::of_number(number),
            Err(_) => Err(E::custom(format!("{number} is not a burst: {}", Burst::ALLOWED))),
        }
    }
}

impl FromStr for Burst {
    type Err = String;

    fn from_str(text: &str) -> Result<Burst, String> {
        let is_number =
            text.strip_prefix('-').unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return text.parse().map(Burst::Time);
        }
        match text.parse() {
            Ok(number) if (1..=MAX_BURST).contains(&number) => Ok(Burst::Requests(number)),
            _ => Err(format!("{text} is not a burst: {}", Burst::ALLOWED)),
        }
    }
}

impl Serialize for Burst {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Burst::Requests(number) => to.serialize_u64(*number),
            Burst::Time(time) => to.collect_str(time),
        }
    }
}

impl<'de> Deserialize<'de> for Burst {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Burst, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Burst;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Burst::ALLOWED)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Burst, E> {
                Burst::of_number(number)
            }

            /// TOML's integers.
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Burst, E> {
                Burst::of_signed(number)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Burst, E> {
                text.parse().map(Burst::Time).map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_a_percentage() {
        let ppm = |text: &str| text.parse::<Share>().map(Share::ppm);
        assert_eq!(ppm("10%"), Ok(100_000));
        assert_eq!(ppm("0.5%"), Ok(5_000));
        assert_eq!(ppm("12.50%"), Ok(125_000));
        assert_eq!(ppm("0.01%"), Ok(MIN_PPM));
        assert_eq!(ppm("100%"), Ok(MAX_PPM));
        assert_eq!("12.5%".parse::<Share>().unwrap().fraction(), 0.125);
    }

    #[test]
    fn the_error_for_an_invalid_share_has_an_example_or_the_range() {
        for text in ["10", "", "%", "ten%", "-1%", "1e1%", "1.%", ".5%", "NaN%", "10 %", "10%%"] {
            let error = text.parse::<Share>().unwrap_err();
            assert!(error.contains("such as \"10%\""), "{error}");
        }
        let huge = format!("{}%", "9".repeat(400));
        for text in ["0%", "0.0001%", "0.0099%", "101%", "100.01%", huge.as_str()] {
            let error = text.parse::<Share>().unwrap_err();
            assert!(error.contains("allowed are 0.01% to 100%"), "{error}");
        }
        assert!("1.00001%".parse::<Share>().unwrap_err().contains("four behind the point"));
    }

    #[test]
    fn a_burst_is_a_number_of_requests_or_a_time() {
        assert_eq!("10".parse(), Ok(Burst::Requests(10)));
        let time = |text: &str| text.parse::<ShareBurst>().map(ShareBurst::ns);
        assert_eq!(time("200ms"), Ok(200_000_000));
        assert_eq!(time("1.5s").or_else(|_| time("1s500ms")), Ok(1_500_000_000));
        for text in ["0ms", "999us", "61s", "1y", "soon", ""] {
            let error = text.parse::<ShareBurst>().unwrap_err();
            assert!(error.contains("1ms to 60s"), "{error}");
        }
        for text in ["0", "-1", "1048576", "99999999999999999999"] {
            let error = text.parse::<Burst>().unwrap_err();
            assert!(error.contains("1 to 1048575 requests"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_share_is_read_back_as_it_was_shown(ppm in MIN_PPM..=MAX_PPM, text: String) {
            let share = Share::of_ppm(ppm).unwrap();
            prop_assert_eq!(share.to_string().parse::<Share>(), Ok(share));
            let _ = text.parse::<Share>();
            let _ = text.parse::<Burst>();
        }

        #[test]
        fn a_burst_is_read_back_as_it_was_shown(us in 1_000u64..=60_000_000) {
            let burst = ShareBurst { ns: us * 1_000 };
            prop_assert_eq!(burst.to_string().parse::<ShareBurst>(), Ok(burst));
        }
    }
}
