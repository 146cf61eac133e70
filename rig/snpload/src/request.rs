//! # A request
//!
//! The i-th request of a vCPU, including faults.

use crate::cli::Behavior;
use crate::ghcb::Ghcb;
use crate::message::{ALL_ONES, HEADER, Message};
use crate::noise::Noise;
use crate::outcome::{Action, Outcome};
use crate::values::{Fault, FaultKind, Race, Vmpck};
use crate::vcpu::Vcpu;

/// The i-th request of a vCPU.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub kind: u8,
    pub vmpck: u8,
    pub race: Option<Race>,
    fault: Option<FaultKind>,
    noise: Noise,
    /// Its content when it is read is unknown.
    scribbled: bool,
}

impl Request {
    pub fn plan(behavior: &Behavior, vcpu: u32, i: u64) -> Self {
        let fault = behavior
            .fault
            .filter(|fault: &Fault| (i + 1).is_multiple_of(fault.every))
            .map(|fault| fault.kind);
        // a faulty request has its one fault and does not race
        let race = behavior.race.filter(|_| fault.is_none());
        let mut noise = Noise::of(behavior.seed, vcpu, i);
        let kind = match (fault, race) {
            (Some(FaultKind::Noise), _) => noise.next() as u8,
            // an odd factor, so that 256 requests have every type once
            (Some(FaultKind::TypeRandom), _) => (i.wrapping_mul(167)) as u8,
            (Some(FaultKind::Ff), _) => 0xff,
            (None, Some(race)) => race.from,
            _ => behavior.types[i as usize % behavior.types.len().max(1)],
        };
        let vmpck = match behavior.vmpck {
            Vmpck::One(vmpck) => vmpck,
            Vmpck::All => ((u64::from(vcpu) + i) % 4) as u8,
        };
        Self { kind, vmpck, race, fault, noise, scribbled: behavior.scribble }
    }

    pub fn action(&self) -> Action {
        if self.race.is_some() || self.scribbled {
            Action::Raced
        } else {
            Action::Request(self.kind)
        }
    }

    pub fn seqno(&self, count: u64) -> u64 {
        match self.fault {
            Some(FaultKind::Replay) => count.saturating_sub(1),
            Some(FaultKind::Gap) => count + 3,
            _ => count + 1,
        }
    }

    pub fn header(&self, seqno: u64) -> [u8; HEADER] {
        let valid = Message::new(self.kind, self.vmpck, seqno);
        match self.fault {
            Some(FaultKind::Ff) => ALL_ONES,
            Some(FaultKind::Noise) => self.noise.header(self.kind, valid),
            Some(FaultKind::BadHeader) => Message { header_version: 0xff, ..valid }.header(),
            _ => valid.header(),
        }
    }

    pub fn ghcb(&self, vcpu: &Vcpu, extended: bool) -> Ghcb {
        let request = match self.fault {
            Some(FaultKind::BadGpa) => vcpu.beyond_memory(),
            _ => vcpu.request_gpa(),
        };
        let response = match self.fault {
            Some(FaultKind::BadResponseGpa) => vcpu.beyond_memory(),
            _ => vcpu.response_gpa(),
        };
        if extended {
            Ghcb::extended_request(request, response, vcpu.certificates_gpa())
        } else {
            Ghcb::request(request, response)
        }
    }

    /// Whether the message counts as passed. After a lost response only the firmware knows; a real
    /// guest would be stuck, this one continues.
    pub fn passed(&self, outcome: Outcome) -> bool {
        outcome == Outcome::Ok
            || (self.fault == Some(FaultKind::BadResponseGpa)
                && outcome == Outcome::Errno(libc::EIO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;
    use clap::Parser;

    fn behavior(args: &[&str]) -> Behavior {
        Options::try_parse_from([&["snpload"], args].concat()).unwrap().complete().behavior
    }

    #[test]
    fn valid_requests_count_on() {
        let request = Request::plan(&behavior(&[]), 0, 0);
        assert_eq!((request.kind, request.vmpck, request.race, request.fault), (5, 0, None, None));
        assert_eq!((request.seqno(0), request.seqno(2)), (1, 3));
    }

    #[test]
    fn faults_come_every_so_often() {
        let behavior = behavior(&["--fault", "replay:3"]);
        let faulty: Vec<u64> =
            (0..9).filter(|i| Request::plan(&behavior, 0, *i).fault.is_some()).collect();
        assert_eq!(faulty, [2, 5, 8]);
        assert_eq!(Request::plan(&behavior, 0, 2).seqno(4), 3);
    }

    #[test]
    fn random_types_are_all_types() {
        let behavior = behavior(&["--fault", "type-random"]);
        let mut seen = [false; 256];
        for i in 0..256 {
            seen[usize::from(Request::plan(&behavior, 0, i).kind)] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn types_and_keys_take_turns() {
        let behavior = behavior(&["--type", "report,key", "--vmpck", "all"]);
        let plan: Vec<(u8, u8)> = (0..4)
            .map(|i| Request::plan(&behavior, 1, i))
            .map(|request| (request.kind, request.vmpck))
            .collect();
        assert_eq!(plan, [(5, 1), (3, 2), (5, 3), (3, 0)]);
    }

    #[test]
    fn a_refused_request_has_not_passed() {
        let request = Request::plan(&behavior(&["--type", "export"]), 0, 0);
        assert!(request.passed(Outcome::Ok));
        for refused in [Outcome::Busy, Outcome::Firmware(0x16), Outcome::Vmm(1), Outcome::Errno(5)]
        {
            assert!(!request.passed(refused), "{refused:?}");
        }
    }

    #[test]
    fn a_raced_request_is_otherwise_valid() {
        let behavior = behavior(&["--race", "key:export", "--fault", "gap:2"]);
        let request = Request::plan(&behavior, 0, 0);
        assert_eq!(request.action(), Action::Raced);
        assert_eq!(request.header(1), Message::new(3, 0, 1).header());
        let faulty = Request::plan(&behavior, 0, 1);
        assert_eq!((faulty.action(), faulty.seqno(0)), (Action::Request(5), 3));
    }
}
