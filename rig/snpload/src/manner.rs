//! # A guest's manners
//!
//! What one vCPU does and when: its pace, its faults, and how it takes BUSY. The
//! honest part is what Linux does in drivers/virt/coco/sev-guest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::{Fault, FaultKind, Manner, Vmpck};
use crate::ghcb::Ghcb;
use crate::message::{ALL_ONES, HEADER, Message};
use crate::report::{Deed, Outcome, Tally};
use crate::signals::{stopping, with_request_in_flight};
use crate::vm::Vcpu;

/// The VM's message keys: for each, how many messages have passed, both ways.
/// The lock is held from the making of a request to its end, waiting included,
/// as Linux holds its mutex: at most one request is in flight for each key.
#[derive(Clone, Default)]
pub struct Keys(Arc<[Mutex<u64>; 4]>);

impl Keys {
    fn hold(&self, vmpck: u8) -> MutexGuard<'_, u64> {
        // a counter is as good after a panic as before
        self.0[usize::from(vmpck & 3)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does all that the manner says, with one vCPU.
pub fn behave(vcpu: &mut Vcpu, index: u32, keys: &Keys, manner: &Manner) -> Result<Tally> {
    let mut tally = Tally::default();
    for _ in 0..manner.vmgexits {
        let start = Instant::now();
        let outcome = expect_features(vcpu.vmgexit(&Ghcb::unrelated())?);
        tally.add(Deed::Vmgexit, outcome, start.elapsed());
        if stopping() {
            break;
        }
    }
    let mut pace = Pace::new(manner);
    while pace.next() {
        let request = Request::plan(manner, index, pace.done - 1);
        send(vcpu, keys, manner, &request, &mut tally)?;
    }
    tally.reruns = vcpu.reruns;
    Ok(tally)
}

/// The answer to the unrelated VMGEXIT is a set of feature bits, not a status.
fn expect_features(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Firmware(_) => Outcome::Ok,
        other => other,
    }
}

/// When the next request is due, and whether there is one.
pub struct Pace<'a> {
    manner: &'a Manner,
    start: Instant,
    limit: Option<u64>,
    pub done: u64,
}

impl<'a> Pace<'a> {
    pub fn new(manner: &'a Manner) -> Self {
        Self { manner, start: Instant::now(), limit: manner.limit(), done: 0 }
    }

    /// Waits until the next request is due; false when there is none any more.
    pub fn next(&mut self) -> bool {
        let i = self.done;
        if self.limit.is_some_and(|limit| i >= limit) {
            return false;
        }
        if let Some(rate) = self.manner.rate {
            wait_until(self.start + Duration::from_secs_f64(i as f64 / rate));
        } else if let (Some(burst), Some(pause)) = (self.manner.burst, self.manner.pause)
            && i > 0
            && i.is_multiple_of(burst)
        {
            wait_until(Instant::now() + Duration::from_millis(pause));
        }
        let over = self.manner.seconds.is_some_and(|s| self.start.elapsed().as_secs_f64() >= s);
        if over || stopping() {
            return false;
        }
        self.done += 1;
        true
    }
}

/// Sleeps in pieces, so that a stop is not missed for long.
fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        if left.is_zero() || stopping() {
            return;
        }
        sleep(left.min(Duration::from_millis(100)));
    }
}

/// What the i-th request of a vCPU is to be.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    kind: u8,
    vmpck: u8,
    fault: Option<FaultKind>,
}

impl Request {
    fn plan(manner: &Manner, vcpu: u32, i: u64) -> Self {
        let fault = manner
            .fault
            .filter(|fault: &Fault| (i + 1).is_multiple_of(fault.every))
            .map(|fault| fault.kind);
        let kind = match fault {
            // an odd factor: each 256 requests have every type once
            Some(FaultKind::TypeRandom) => (i.wrapping_mul(167)) as u8,
            Some(FaultKind::Ff) => 0xff,
            _ => manner.types[i as usize % manner.types.len().max(1)],
        };
        let vmpck = match manner.vmpck {
            Vmpck::One(vmpck) => vmpck,
            Vmpck::All => ((u64::from(vcpu) + i) % 4) as u8,
        };
        Self { kind, vmpck, fault }
    }

    fn seqno(&self, count: u64) -> u64 {
        match self.fault {
            Some(FaultKind::Replay) => count.saturating_sub(1),
            Some(FaultKind::Gap) => count + 3,
            _ => count + 1,
        }
    }

    fn header(&self, seqno: u64) -> [u8; HEADER] {
        let honest = Message::new(self.kind, self.vmpck, seqno);
        match self.fault {
            Some(FaultKind::Ff) => ALL_ONES,
            Some(FaultKind::BadHeader) => Message { header_version: 0xff, ..honest }.header(),
            _ => honest.header(),
        }
    }

    fn ghcb(&self, vcpu: &Vcpu, extended: bool) -> Ghcb {
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

    /// Whether the message counts as passed. After a lost response only the
    /// firmware knows that it was; a guest would be stuck, this one carries on.
    fn passed(&self, outcome: Outcome) -> bool {
        outcome == Outcome::Ok
            || (self.fault == Some(FaultKind::BadResponseGpa)
                && outcome == Outcome::Errno(libc::EIO))
    }
}

/// Sends one message, again and again while the VMM says BUSY.
fn send(
    vcpu: &mut Vcpu,
    keys: &Keys,
    manner: &Manner,
    request: &Request,
    tally: &mut Tally,
) -> Result<()> {
    let mut count = keys.hold(request.vmpck);
    let seqno = request.seqno(*count);
    let header = request.header(seqno);
    let give_up = Instant::now() + Duration::from_millis(manner.busy_give_up_ms);
    loop {
        // the hypervisor overwrites the GHCB, and could the message
        vcpu.put_message(&header)?;
        let ghcb = request.ghcb(vcpu, manner.extended);
        let start = Instant::now();
        let outcome = with_request_in_flight(|| vcpu.vmgexit(&ghcb))?;
        tally.add(Deed::Request(request.kind), outcome, start.elapsed());
        if request.passed(outcome) {
            *count = seqno + 1;
        }
        if outcome != Outcome::Busy || stopping() || Instant::now() >= give_up {
            return Ok(());
        }
        wait_until(Instant::now() + Duration::from_millis(manner.busy_retry_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;
    use clap::Parser;

    fn manner(args: &[&str]) -> Manner {
        Options::try_parse_from([&["snpload"], args].concat()).unwrap().complete().manner
    }

    #[test]
    fn honest_requests_count_on() {
        let request = Request::plan(&manner(&[]), 0, 0);
        assert_eq!(request, Request { kind: 5, vmpck: 0, fault: None });
        assert_eq!((request.seqno(0), request.seqno(2)), (1, 3));
    }

    #[test]
    fn faults_come_every_so_often() {
        let manner = manner(&["--fault", "replay:3"]);
        let faulty: Vec<u64> =
            (0..9).filter(|i| Request::plan(&manner, 0, *i).fault.is_some()).collect();
        assert_eq!(faulty, [2, 5, 8]);
        assert_eq!(Request::plan(&manner, 0, 2).seqno(4), 3);
    }

    #[test]
    fn random_types_are_all_types() {
        let manner = manner(&["--fault", "type-random"]);
        let mut seen = [false; 256];
        for i in 0..256 {
            seen[usize::from(Request::plan(&manner, 0, i).kind)] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }

    #[test]
    fn types_and_keys_take_turns() {
        let manner = manner(&["--type", "report,key", "--vmpck", "all"]);
        let plan: Vec<(u8, u8)> = (0..4)
            .map(|i| Request::plan(&manner, 1, i))
            .map(|request| (request.kind, request.vmpck))
            .collect();
        assert_eq!(plan, [(5, 1), (3, 2), (5, 3), (3, 0)]);
    }

    #[test]
    fn the_pace_ends() {
        let manner = manner(&["--count", "3", "--burst", "2", "--pause", "1"]);
        let mut pace = Pace::new(&manner);
        while pace.next() {}
        assert_eq!(pace.done, 3);
    }
}
