//! # What came of it
//!
//! Counted by each vCPU for itself, added up over vCPUs, VMs and processes, and
//! printed as one line of JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ghcb::INFO_1_MALFORMED;

/// `exit_info_2` as the GHCB specification splits it: the VMM's half, and those
/// of its codes that have a name.
const VMM_BUSY: u32 = 2;

/// What a guest did: a request of some message type, or something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    Request(u8),
    Vmgexit,
    Ordinary,
}

impl Deed {
    fn key(self) -> String {
        match self {
            Self::Request(kind) => kind.to_string(),
            Self::Vmgexit => "vmgexit".into(),
            Self::Ordinary => "ordinary".into(),
        }
    }
}

/// How one attempt at it ended, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    /// the VMM wants the same message again, later
    Busy,
    /// the firmware's status
    Firmware(u32),
    /// another code of the VMM's
    Vmm(u32),
    /// KVM could make nothing of the GHCB
    Malformed(u64),
    /// KVM_RUN failed
    Errno(i32),
    /// KVM_RUN returned for another reason than the guest's HLT
    Exit(u32),
}

impl Outcome {
    pub fn from_exit_info(info_1: u64, info_2: u64) -> Self {
        if info_1 as u32 == INFO_1_MALFORMED {
            return Self::Malformed(info_2);
        }
        match ((info_2 >> 32) as u32, info_2 as u32) {
            (0, 0) => Self::Ok,
            (0, status) => Self::Firmware(status),
            (VMM_BUSY, _) => Self::Busy,
            (vmm, _) => Self::Vmm(vmm),
        }
    }

    fn key(self) -> String {
        match self {
            Self::Ok => "ok".into(),
            Self::Busy => "busy".into(),
            Self::Firmware(status) => format!("fw:{status:#x}"),
            Self::Vmm(code) => format!("vmm:{code:#x}"),
            Self::Malformed(reason) => format!("ghcb:{reason:#x}"),
            Self::Errno(errno) => format!("errno:{errno}"),
            Self::Exit(reason) => format!("exit:{reason}"),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub avg: f64,
    pub max: f64,
}

/// The line that is printed. `requests` counts attempts, so a message repeated
/// on BUSY counts each time, and is the sum of all outcomes of message types.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub vms: u32,
    pub requests: u64,
    /// by message type, and "vmgexit" and "ordinary" for what is no request
    pub outcomes: BTreeMap<String, BTreeMap<String, u64>>,
    pub latency_us: Latency,
    /// average of an unrelated VMGEXIT
    pub vmgexit_us: f64,
    /// KVM_RUNs that ended early with EINTR or EAGAIN, and were simply repeated
    pub reruns: u64,
    /// VMs whose process died before it reported
    pub died: u32,
    pub elapsed_s: f64,
}

/// One vCPU's own count, cheap to add to.
#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(Deed, Outcome), u64>,
    requests: u64,
    request_time: Duration,
    request_max: Duration,
    vmgexits: u64,
    vmgexit_time: Duration,
    pub reruns: u64,
}

impl Tally {
    pub fn add(&mut self, deed: Deed, outcome: Outcome, took: Duration) {
        *self.counts.entry((deed, outcome)).or_default() += 1;
        match deed {
            Deed::Request(_) => {
                self.requests += 1;
                self.request_time += took;
                self.request_max = self.request_max.max(took);
            }
            Deed::Vmgexit => {
                self.vmgexits += 1;
                self.vmgexit_time += took;
            }
            Deed::Ordinary => {}
        }
    }

    pub fn report(self, elapsed: Duration) -> Report {
        let average = |time: Duration, n: u64| {
            if n == 0 { 0.0 } else { time.as_secs_f64() * 1e6 / n as f64 }
        };
        let mut outcomes = BTreeMap::<String, BTreeMap<String, u64>>::new();
        for ((deed, outcome), n) in self.counts {
            outcomes.entry(deed.key()).or_default().insert(outcome.key(), n);
        }
        Report {
            vms: 0,
            requests: self.requests,
            outcomes,
            latency_us: Latency {
                avg: average(self.request_time, self.requests),
                max: self.request_max.as_secs_f64() * 1e6,
            },
            vmgexit_us: average(self.vmgexit_time, self.vmgexits),
            reruns: self.reruns,
            died: 0,
            elapsed_s: elapsed.as_secs_f64(),
        }
    }
}

impl Report {
    fn vmgexits(&self) -> u64 {
        self.outcomes.get("vmgexit").map_or(0, |m| m.values().sum())
    }

    /// Adds what another vCPU, VM or process, at work at the same time, reports.
    pub fn add(&mut self, other: Self) {
        let weighted = |a: f64, n: u64, b: f64, m: u64| {
            if n + m == 0 { 0.0 } else { (a * n as f64 + b * m as f64) / (n + m) as f64 }
        };
        self.latency_us.avg =
            weighted(self.latency_us.avg, self.requests, other.latency_us.avg, other.requests);
        self.latency_us.max = self.latency_us.max.max(other.latency_us.max);
        self.vmgexit_us =
            weighted(self.vmgexit_us, self.vmgexits(), other.vmgexit_us, other.vmgexits());
        self.vms += other.vms;
        self.requests += other.requests;
        self.reruns += other.reruns;
        self.died += other.died;
        self.elapsed_s = self.elapsed_s.max(other.elapsed_s);
        for (kind, outcomes) in other.outcomes {
            let mine = self.outcomes.entry(kind).or_default();
            for (outcome, n) in outcomes {
                *mine.entry(outcome).or_default() += n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_info_has_two_halves() {
        let of = |info_2| Outcome::from_exit_info(0, info_2);
        assert_eq!(of(0), Outcome::Ok);
        assert_eq!(of(0x16), Outcome::Firmware(0x16));
        assert_eq!(of(2 << 32), Outcome::Busy);
        assert_eq!(of(1 << 32), Outcome::Vmm(1));
        assert_eq!(of(0xffff_ffff << 32), Outcome::Vmm(0xffff_ffff));
        assert_eq!(Outcome::from_exit_info(2, 5), Outcome::Malformed(5));
    }

    #[test]
    fn reports_add_up() {
        let report = |attempts: &[(Outcome, u64)], seconds| {
            let mut tally = Tally::default();
            for (outcome, us) in attempts {
                tally.add(Deed::Request(5), *outcome, Duration::from_micros(*us));
            }
            Report { vms: 1, ..tally.report(Duration::from_secs(seconds)) }
        };
        let mut a = report(&[(Outcome::Ok, 100)], 1);
        a.add(report(&[(Outcome::Ok, 400), (Outcome::Errno(5), 400)], 2));
        assert_eq!((a.vms, a.requests), (2, 3));
        assert!((a.latency_us.avg - 300.0).abs() < 1e-6 && a.latency_us.max > 399.0);
        assert!((a.elapsed_s - 2.0).abs() < 1e-9);
        let expected = BTreeMap::from([("ok".to_owned(), 2), ("errno:5".to_owned(), 1)]);
        assert_eq!(a.outcomes["5"], expected);
    }
}
