//! # The command line
//!
//! Everything a run can be asked for. A VM in a process of its own gets the same
//! options as JSON in its environment, since its command line is its disguise.

use std::str::FromStr;

use clap::{Args, Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::message::TYPES;

#[derive(Debug, Clone, PartialEq, Parser, Serialize, Deserialize)]
#[command(about = "Real SNP VMs that send guest requests, with scripted manners")]
pub struct Options {
    /// How many VMs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub vms: u32,
    /// Each VM in a process of its own
    #[arg(long)]
    pub processes: bool,
    /// Disguise each VM's process as this VMM (implies --processes)
    #[arg(long)]
    pub vmm: Option<Vmm>,
    /// The VM's name; of several, VM i is PREFIX-i
    #[arg(long, value_name = "PREFIX", default_value = "snpload")]
    pub name: String,
    /// Give all VMs the same name
    #[arg(long)]
    pub same_name: bool,
    /// vCPUs of each VM, a thread each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub vcpus: u32,
    #[command(flatten)]
    pub manner: Manner,
    /// Begin all at once, in all VMs
    #[arg(long)]
    pub start_together: bool,
    /// Die by SIGKILL with a request in flight, so many ms after the start
    #[arg(long, value_name = "MS")]
    pub die_after: Option<u64>,
    /// When done keep the VMs until standard input (a pipe or terminal) ends, or SIGTERM
    #[arg(long)]
    pub hold: bool,
    /// Ordinary guests instead, which run real code
    #[arg(long)]
    pub ordinary: bool,
    /// More arguments for the disguise
    #[arg(last = true, value_name = "VMM-ARGS")]
    pub vmm_args: Vec<String>,
}

/// What a guest does, and when.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
pub struct Manner {
    /// Key to use: 0 to 3, or all in turn
    #[arg(long, default_value = "0")]
    pub vmpck: Vmpck,
    /// Message types, in turn, by name or number: report,key,tsc_info,26
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',', default_value = "report", value_parser = message_type)]
    pub types: Vec<u8>,
    /// Requests of each vCPU (1, or no limit with --seconds)
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after so many seconds
    #[arg(long, value_name = "S")]
    pub seconds: Option<f64>,
    /// Requests a second of each vCPU
    #[arg(long, value_name = "R", conflicts_with = "burst", value_parser = positive)]
    pub rate: Option<f64>,
    /// So many requests in a row, then a pause
    #[arg(long, value_name = "N", requires = "pause", value_parser = clap::value_parser!(u64).range(1..))]
    pub burst: Option<u64>,
    /// The pause between bursts
    #[arg(long, value_name = "MS", requires = "burst")]
    pub pause: Option<u64>,
    /// Extended requests, which ask for certificates
    #[arg(long)]
    pub extended: bool,
    /// Certificates come from user space (implies --extended; Linux 7.0 and later)
    #[arg(long)]
    pub certs: bool,
    /// Refuse the certificates (implies --certs)
    #[arg(long, value_name = "ERROR")]
    pub certs_error: Option<CertsError>,
    /// Misbehave, in every request or every EVERYth
    #[arg(long, value_name = "KIND[:EVERY]")]
    pub fault: Option<Fault>,
    /// How long a guest waits before it repeats a message on BUSY
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub busy_retry_ms: u64,
    /// How long it goes on repeating it
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    pub busy_give_up_ms: u64,
    /// First so many VMGEXITs of each vCPU that are no guest requests
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub vmgexits: u64,
}

impl Manner {
    /// How many requests a vCPU is to send, if there is a limit.
    pub fn limit(&self) -> Option<u64> {
        match (self.count, self.seconds) {
            (Some(count), _) => Some(count),
            (None, Some(_)) => None,
            (None, None) => Some(if self.vmgexits > 0 { 0 } else { 1 }),
        }
    }
}

impl Options {
    /// Follows the implications that clap does not know.
    pub fn complete(mut self) -> Self {
        self.processes |= self.vmm.is_some();
        self.manner.certs |= self.manner.certs_error.is_some();
        self.manner.extended |= self.manner.certs;
        self
    }

    /// The name of VM i.
    pub fn vm_name(&self, i: u32) -> String {
        if self.vms == 1 || self.same_name {
            self.name.clone()
        } else {
            format!("{}-{i}", self.name)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Vmm {
    Qemu,
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
    /// the sequence number of the last message again
    Replay,
    /// a sequence number too high by 2
    Gap,
    /// hdr_version 0xff
    BadHeader,
    /// a header of nothing but 0xff
    Ff,
    /// a request page outside the guest's memory
    BadGpa,
    /// a response page outside it: the firmware has done its part by then
    BadResponseGpa,
    /// all 256 types, in an order that looks random
    TypeRandom,
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

fn message_type(s: &str) -> Result<u8, String> {
    if let Some((_, number)) = TYPES.iter().find(|(name, _)| *name == s) {
        return Ok(*number);
    }
    s.parse().map_err(|_| {
        let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
        format!("a number below 256, or one of {}", names.join(", "))
    })
}

fn positive(s: &str) -> Result<f64, String> {
    match s.parse() {
        Ok(x) if x > 0.0 && f64::is_finite(x) => Ok(x),
        _ => Err("a number above 0".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Options {
        Options::try_parse_from([&["snpload"], args].concat()).unwrap().complete()
    }

    fn refused(args: &[&str]) {
        assert!(Options::try_parse_from([&["snpload"], args].concat()).is_err(), "{args:?}");
    }

    #[test]
    fn defaults() {
        let o = parse(&[]);
        assert_eq!((o.vms, o.vcpus, o.processes), (1, 1, false));
        assert_eq!(o.manner.types, [5]);
        assert_eq!(o.manner.vmpck, Vmpck::One(0));
        assert_eq!(o.manner.limit(), Some(1));
    }

    #[test]
    fn types_by_name_and_number() {
        assert_eq!(parse(&["--type", "report,key,26"]).manner.types, [5, 3, 26]);
        refused(&["--type", "256"]);
        refused(&["--type", "nonsense"]);
    }

    #[test]
    fn faults_with_and_without_a_period() {
        let fault = |s| parse(&["--fault", s]).manner.fault.unwrap();
        assert_eq!(fault("replay"), Fault { kind: FaultKind::Replay, every: 1 });
        assert_eq!(fault("bad-gpa:7"), Fault { kind: FaultKind::BadGpa, every: 7 });
        refused(&["--fault", "replay:0"]);
        refused(&["--fault", "none"]);
    }

    #[test]
    fn implications() {
        let o = parse(&["--vmm", "qemu", "--certs-error", "invalid_len"]);
        assert!(o.processes && o.manner.certs && o.manner.extended);
        assert_eq!(parse(&["--seconds", "1.5"]).manner.limit(), None);
        assert_eq!(parse(&["--vmgexits", "10"]).manner.limit(), Some(0));
    }

    #[test]
    fn contradictions() {
        refused(&["--rate", "5", "--burst", "2", "--pause", "1"]);
        refused(&["--burst", "2"]);
        refused(&["--rate", "0"]);
        refused(&["--vms", "0"]);
        refused(&["--vmpck", "4"]);
    }

    #[test]
    fn names() {
        assert_eq!(parse(&["--name", "a"]).vm_name(0), "a");
        assert_eq!(parse(&["--name", "a", "--vms", "2"]).vm_name(1), "a-1");
        assert_eq!(parse(&["--name", "a", "--vms", "2", "--same-name"]).vm_name(1), "a");
    }

    #[test]
    fn survive_the_environment() {
        let o = parse(&["--type", "key,5", "--fault", "gap:2", "--vmpck", "all", "--", "-m", "2G"]);
        let text = serde_json::to_string(&o).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), o);
    }
}
