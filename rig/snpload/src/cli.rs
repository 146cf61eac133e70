//! # The command line
//!
//! A VM in its own process gets the same options as JSON in its environment, since its command line
//! imitates a VMM's.

use std::path::PathBuf;

use clap::{Args, Parser};
use serde::{Deserialize, Serialize};

use crate::attack::Technique;
use crate::launch::LaunchOptions;
use crate::values::{CertsError, Fault, Race, Vmm, Vmpck, message_type, number, positive};

#[derive(Debug, Clone, PartialEq, Parser, Serialize, Deserialize)]
#[command(about = "Run real SNP VMs that send scripted guest requests")]
pub struct Options {
    /// Number of VMs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub vms: u32,
    /// Run each VM in its own process
    #[arg(long)]
    pub processes: bool,
    /// Give each VM's process this VMM's name and arguments (implies --processes)
    #[arg(long)]
    pub vmm: Option<Vmm>,
    /// The VM's name; with several VMs, VM i is PREFIX-i
    #[arg(long, value_name = "PREFIX", default_value = "snpload")]
    pub name: String,
    /// Give all VMs the same name
    #[arg(long)]
    pub same_name: bool,
    /// Encode the name as Latin-1, so that it may not be UTF-8
    #[arg(long)]
    pub latin1: bool,
    /// vCPUs of each VM, one thread each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub vcpus: u32,
    #[command(flatten)]
    pub behavior: Behavior,
    /// VMs of each process, with --processes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub contexts: u32,
    #[command(flatten)]
    pub launch: LaunchOptions,
    /// First make this many SEV-TIO guest requests, which a VMM makes by an ioctl(2)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub tio: u32,
    /// Start all vCPUs of all VMs at once
    #[arg(long)]
    pub start_together: bool,
    /// Die by SIGKILL during a request, this many ms after the start
    #[arg(long, value_name = "MS")]
    pub die_after: Option<u64>,
    /// When done, keep the VMs until standard input (a pipe or terminal) ends, or SIGTERM
    #[arg(long)]
    pub hold: bool,
    /// Run guests without SNP, which execute real code
    #[arg(long)]
    pub ordinary: bool,
    /// Make KVM_RUN a 32-bit system call
    #[arg(long)]
    pub compat: bool,
    /// More arguments of the VMM
    #[arg(last = true, value_name = "VMM-ARGS")]
    pub vmm_args: Vec<String>,
}

/// What a guest does, and when.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
pub struct Behavior {
    /// VMPCK to use: 0 to 3, or all in turn
    #[arg(long, default_value = "0")]
    pub vmpck: Vmpck,
    /// Message types, in turn, by name or number, such as report,key,26
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',', default_value = "report", value_parser = message_type)]
    pub types: Vec<u8>,
    /// Flip each message's type between these two while it is in flight
    #[arg(long, value_name = "FROM:TO", conflicts_with = "types")]
    pub race: Option<Race>,
    /// Requests of each vCPU (default: 1, or unlimited with --seconds)
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after this many seconds
    #[arg(long, value_name = "S")]
    pub seconds: Option<f64>,
    /// Requests per second of each vCPU
    #[arg(long, value_name = "R", conflicts_with = "burst", value_parser = positive)]
    pub rate: Option<f64>,
    /// Send this many requests in a row, then pause
    #[arg(long, value_name = "N", requires = "pause", value_parser = clap::value_parser!(u64).range(1..))]
    pub burst: Option<u64>,
    /// Pause between bursts
    #[arg(long, value_name = "MS", requires = "burst")]
    pub pause: Option<u64>,
    /// Send extended requests, which fetch certificates
    #[arg(long)]
    pub extended: bool,
    /// Take certificates from user space (implies --extended; Linux 7.0 and later)
    #[arg(long)]
    pub certs: bool,
    /// Refuse the certificates (implies --certs)
    #[arg(long, value_name = "ERROR")]
    pub certs_error: Option<CertsError>,
    /// Misbehave in every request, or in every EVERYth
    #[arg(long, value_name = "KIND[:EVERY]")]
    pub fault: Option<Fault>,
    /// Seed of random headers and of --scribble
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Overwrite GHCB and request page all the time
    #[arg(long)]
    pub scribble: bool,
    /// Instead of requests, make VMGEXITs that end like requests with this answer, 0x…
    #[arg(long, value_name = "ANSWER", value_parser = number, conflicts_with = "scribble")]
    pub forge_answer: Option<u64>,
    /// Delay before a message is repeated on BUSY
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub busy_retry_ms: u64,
    /// How long to keep repeating it
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    pub busy_give_up_ms: u64,
    /// Never use a VMPCK again after an error or when giving up on BUSY, as Linux does
    #[arg(long)]
    pub give_up_on_error: bool,
    /// How the VMM tries to be taken for another, from the start or from the cue
    #[arg(long, value_name = "TECHNIQUE")]
    pub attack: Option<Technique>,
    /// Before each run overwrite the process's arguments with QEMU's, with these names in turn, or
    /// the one whose index the cue file holds
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub forge: Vec<String>,
    /// Wait for this file after --cue-after requests
    #[arg(long, value_name = "FILE")]
    pub cue: Option<PathBuf>,
    /// Requests of each vCPU before the cue
    #[arg(long, value_name = "N", default_value_t = 0, requires = "cue")]
    pub cue_after: u64,
    /// First make this many VMGEXITs per vCPU that are not guest requests
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub vmgexits: u64,
}

impl Behavior {
    /// How many requests a vCPU sends; None: no limit.
    pub fn limit(&self) -> Option<u64> {
        match (self.count, self.seconds) {
            (Some(count), _) => Some(count),
            (None, Some(_)) => None,
            (None, None) => Some(if self.vmgexits > 0 { 0 } else { 1 }),
        }
    }
}

impl Options {
    /// Applies implications that clap does not know.
    pub fn complete(mut self) -> Self {
        self.processes |=
            self.vmm.is_some() || self.behavior.attack == Some(Technique::LeaderExits);
        self.behavior.certs |= self.behavior.certs_error.is_some();
        self.behavior.extended |= self.behavior.certs;
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
        assert_eq!(o.behavior.types, [5]);
        assert_eq!(o.behavior.vmpck, Vmpck::One(0));
        assert_eq!(o.behavior.limit(), Some(1));
    }

    #[test]
    fn types() {
        assert_eq!(parse(&["--type", "report,key,26"]).behavior.types, [5, 3, 26]);
        refused(&["--type", "report,256"]);
        refused(&["--fault", "replay:0"]);
    }

    #[test]
    fn an_answer_to_forge_is_a_hexadecimal_number() {
        assert_eq!(parse(&["--forge-answer", "0x200000000"]).behavior.forge_answer, Some(2 << 32));
        refused(&["--forge-answer", "busy"]);
    }

    #[test]
    fn a_race_has_its_own_types() {
        let behavior = parse(&["--race", "report:export"]).behavior;
        assert_eq!(behavior.race, Some(Race { from: 5, to: 7 }));
        refused(&["--race", "report:export", "--type", "key"]);
        refused(&["--race", "report:5"]);
    }

    #[test]
    fn implications() {
        let o = parse(&["--vmm", "qemu", "--certs-error", "invalid_len"]);
        assert!(o.processes && o.behavior.certs && o.behavior.extended);
        assert_eq!(parse(&["--seconds", "1.5"]).behavior.limit(), None);
        assert_eq!(parse(&["--vmgexits", "10"]).behavior.limit(), Some(0));
        assert!(parse(&["--attack", "leader-exits"]).processes);
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
    fn launches() {
        assert_eq!(parse(&[]).launch.pages, 256);
        let launch = parse(&["--pages", "5"]).launch;
        assert_eq!((launch.first_half(), launch.second_half()), (0..2, 2..5));
        refused(&["--pages", "100001"]);
        refused(&["--relaunch", "2", "--relaunch-for", "2.5"]);
        refused(&["--abandon", "finish"]);
    }

    #[test]
    fn names() {
        assert_eq!(parse(&["--name", "a"]).vm_name(0), "a");
        assert_eq!(parse(&["--name", "a", "--vms", "2"]).vm_name(1), "a-1");
        assert_eq!(parse(&["--name", "a", "--vms", "2", "--same-name"]).vm_name(1), "a");
    }

    #[test]
    fn options_survive_the_environment() {
        for o in [
            parse(&["--type", "key,5", "--fault", "gap:2", "--vmpck", "all", "--", "-m", "2G"]),
            parse(&["--race", "key:5", "--give-up-on-error"]),
            parse(&["--attack", "child", "--forge", "a,b", "--cue", "/tmp/cue"]),
            parse(&["--abandon", "update", "--relaunch-for", "2.5", "--launch-cue", "/tmp/cue"]),
        ] {
            let text = serde_json::to_string(&o).unwrap();
            assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), o);
        }
    }
}
