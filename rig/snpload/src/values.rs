//! # Values of options
//!
//! The types of options' arguments and their parsers.

use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::message::TYPES;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Vmm {
    Qemu,
    /// QEMU as in Proxmox VE, with another program name and another place of the UUID
    Kvm,
    CloudHypervisor,
    Firecracker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum CertsError {
    #[value(name = "invalid_len")]
    InvalidLen,
    Busy,
    Generic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vmpck {
    One(u8),
    All,
}

impl FromStr for Vmpck {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "all" => Ok(Self::All),
            "0" | "1" | "2" | "3" => Ok(Self::One(s.as_bytes()[0] - b'0')),
            _ => Err("0, 1, 2, 3 or all".into()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum FaultKind {
    /// the last message's sequence number again
    Replay,
    /// a sequence number 2 too high
    Gap,
    /// hdr_version 0xff
    BadHeader,
    /// a header of 0xff bytes
    Ff,
    /// a request page outside the guest's memory
    BadGpa,
    /// a response page outside the guest's memory, used after the firmware has answered
    BadResponseGpa,
    /// all 256 types in a pseudo-random order
    TypeRandom,
    /// random headers from --seed
    Noise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    pub every: u64,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (kind, every) = s.split_once(':').unwrap_or((s, "1"));
        let kind = FaultKind::from_str(kind, false).map_err(|_| {
            let names: Vec<_> = FaultKind::value_variants()
                .iter()
                .filter_map(|k| Some(k.to_possible_value()?.get_name().to_owned()))
                .collect();
            format!("no such fault; there are {}", names.join(", "))
        })?;
        match every.parse() {
            Ok(every) if every > 0 => Ok(Self { kind, every }),
            _ => Err(format!("`{every}` is not a number above 0")),
        }
    }
}

/// Two message types between which a message flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Race {
    pub from: u8,
    pub to: u8,
}

impl FromStr for Race {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (from, to) = s.split_once(':').ok_or("two types, as in report:export")?;
        let race = Self { from: message_type(from)?, to: message_type(to)? };
        if race.from == race.to {
            return Err("there is no race between a type and itself".into());
        }
        Ok(race)
    }
}

pub fn message_type(s: &str) -> Result<u8, String> {
    if let Some((_, number)) = TYPES.iter().find(|(name, _)| *name == s) {
        return Ok(*number);
    }
    s.parse().map_err(|_| {
        let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
        format!("a number below 256, or one of {}", names.join(", "))
    })
}

pub fn positive(s: &str) -> Result<f64, String> {
    match s.parse() {
        Ok(x) if x > 0.0 && f64::is_finite(x) => Ok(x),
        _ => Err("a number above 0".into()),
    }
}

/// A hexadecimal number with 0x.
pub fn number(s: &str) -> Result<u64, String> {
    let digits = s.strip_prefix("0x").ok_or("a hexadecimal number, 0x…")?;
    u64::from_str_radix(digits, 16).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name_and_number() {
        assert_eq!(message_type("key"), Ok(3));
        assert_eq!(message_type("26"), Ok(26));
        assert!(message_type("256").is_err() && message_type("nonsense").is_err());
    }

    #[test]
    fn faults_with_and_without_a_period() {
        let fault = |kind, every| Ok(Fault { kind, every });
        assert_eq!("replay".parse(), fault(FaultKind::Replay, 1));
        assert_eq!("bad-gpa:7".parse(), fault(FaultKind::BadGpa, 7));
        assert!("replay:0".parse::<Fault>().is_err() && "none".parse::<Fault>().is_err());
    }

    #[test]
    fn a_race_is_between_two_types() {
        assert_eq!("report:export".parse(), Ok(Race { from: 5, to: 7 }));
        assert_eq!("26:key".parse(), Ok(Race { from: 26, to: 3 }));
        for wrong in ["report", "report:", ":5", "report:5", "report:export:key", "5:256"] {
            assert!(wrong.parse::<Race>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_above_0() {
        assert_eq!(positive("0.5"), Ok(0.5));
        assert!(positive("0").is_err() && positive("inf").is_err() && positive("x").is_err());
    }
}
