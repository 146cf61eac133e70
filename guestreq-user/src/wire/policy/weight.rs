//! # Weights in the gate's order

use std::{fmt, str::FromStr};

use guestreq_common::gate;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An integer from 1 to 255: how much of the PSP a VM gets in relation to others that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(pub gate::Weight);

impl Weight {
    pub const DEFAULT: Weight = Weight(gate::Weight::DEFAULT);
    const ALLOWED: &str = "an integer from 1 to 255";

    pub fn is_default(self) -> bool {
        self == Weight::DEFAULT
    }

    fn of_number(number: impl TryInto<u8> + Copy + fmt::Display) -> Result<Weight, String> {
        let weight = number.try_into().ok().and_then(gate::Weight::new);
        let invalid = || format!("{number} is not a weight: {}", Weight::ALLOWED);
        weight.map(Weight).ok_or_else(invalid)
    }
}

impl Default for Weight {
    fn default() -> Weight {
        Weight::DEFAULT
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Weight, String> {
        // No sign, and no other way to write the same number.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|_| digits);
        let invalid = || format!("{text:?} is not a weight: {}", Weight::ALLOWED);
        number.map_or_else(|| Err(invalid()), Weight::of_number)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.get().fmt(f)
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(self.0.get())
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Weight, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Weight;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a weight: {}", Weight::ALLOWED)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Weight, E> {
                Weight::of_number(number).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Weight, E> {
                Weight::of_number(number).map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_read_back_as_it_was_written_and_shown() {
        for number in 1..=u8::MAX {
            let weight: Weight = number.to_string().parse().unwrap();
            assert_eq!(weight.0.get(), number);
            assert_eq!(serde_json::to_string(&weight).unwrap(), weight.to_string());
            assert_eq!(serde_json::from_str::<Weight>(&weight.to_string()).unwrap(), weight);
        }
    }

    #[test]
    fn the_error_for_an_invalid_weight_has_the_range() {
        for text in ["0", "256", "-1", "1.5", "\"4\"", "99999999999999999999", "null", "[]"] {
            let error = serde_json::from_str::<Weight>(text).unwrap_err().to_string();
            assert!(error.contains("a weight: an integer from 1 to 255"), "{text}: {error}");
        }
        for text in ["0", "256", "-1", "1.5", "+4", "", " 4", "four", "99999999999999999999"] {
            let error = text.parse::<Weight>().unwrap_err();
            assert!(error.contains("is not a weight: an integer from 1 to 255"), "{error}");
        }
    }
}
