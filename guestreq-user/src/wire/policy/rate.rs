//! # Rates: a number per second, minute or hour, such as `5/s`, `0.5/s` or `30/m`

use std::{fmt, str::FromStr};

use guestreq_common::gcra::{MAX_INTERVAL_NS, MIN_INTERVAL_NS};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(super) const UNITS: [(&str, u64); 3] =
    [("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

/// A rate, from 1/h to 1000000/s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    number: f64,
    /// An index of [`UNITS`].
    unit: usize,
}

impl Rate {
    /// The time between two evenly spaced requests.
    pub fn interval_ns(self) -> u64 {
        // `from_str` keeps it within bounds.
        (UNITS[self.unit].1 as f64 / self.number).round() as u64
    }

    pub fn per_second(self) -> f64 {
        1e9 / self.interval_ns() as f64
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let invalid = || {
            format!("{text:?} is not a rate: a number per s, m or h, such as 5/s, 0.5/s or 30/m")
        };
        let (number, unit) = text.split_once('/').ok_or_else(invalid)?;
        let unit = if unit == "min" { "m" } else { unit };
        let unit = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        // Digits only: Rust also parses inf, nan and 1e9.
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(invalid());
        }
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let interval = UNITS[unit].1 as f64 / number;
        if !(MIN_INTERVAL_NS as f64..=MAX_INTERVAL_NS as f64).contains(&interval) {
            return Err(format!(
                "{text:?} is out of range: allowed are 1/h to 1000000/s (to lift a limit, set it off)"
            ));
        }
        Ok(Rate { number, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, UNITS[self.unit].0)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Rate, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as \"5/s\", \"0.5/s\" or \"30/m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_a_number_per_unit() {
        let interval = |text: &str| text.parse::<Rate>().unwrap().interval_ns();
        assert_eq!(interval("5/s"), 200_000_000);
        assert_eq!(interval("0.5/s"), 2_000_000_000);
        assert_eq!(interval("30/m"), 2_000_000_000);
        assert_eq!(interval("30/min"), 2_000_000_000);
        assert_eq!(interval("3/s"), 333_333_333);
        assert_eq!(interval("1/h"), MAX_INTERVAL_NS);
        assert_eq!(interval("1000000/s"), MIN_INTERVAL_NS);
        assert_eq!("30/m".parse::<Rate>().unwrap().per_second(), 0.5);
    }

    #[test]
    fn a_rate_is_shown_as_it_was_written() {
        for text in ["5/s", "0.5/s", "30/m", "4.25/m", "1/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_error_for_an_invalid_rate_has_examples() {
        for text in ["", "5", "/s", "./s", "-1/s", "+1/s", "1e3/s", "NaN/s", "inf/s", "5/d", "5 /s"]
        {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains("a number per s, m or h, such as 5/s"), "{error}");
        }
    }

    #[test]
    fn a_rate_out_of_range_says_the_range() {
        let huge = format!("{}/s", "9".repeat(400));
        for text in ["0/s", "0.0/m", "0.9/h", "1000001/s", huge.as_str()] {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains("allowed are 1/h to 1000000/s"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, number in "[0-9.eE+-]{0,30}", unit in "[smhd]?") {
            let _ = text.parse::<Rate>();
            if let Ok(rate) = format!("{number}/{unit}").parse::<Rate>() {
                prop_assert!((MIN_INTERVAL_NS..=MAX_INTERVAL_NS).contains(&rate.interval_ns()));
                prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            }
        }
    }
}
