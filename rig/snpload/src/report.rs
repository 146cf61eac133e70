//! # The report
//!
//! Summed over VMs and processes, printed as one line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::launch::LaunchReport;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub avg: f64,
    pub max: f64,
}

/// What one VM's guest saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VmReport {
    pub name: String,
    /// requests with a final answer; repetitions on BUSY are part of a request, even if BUSY was
    /// the last answer
    pub requests: u64,
    /// their durations, from the first attempt to the final answer
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// attempts answered with BUSY
    pub busy: u64,
    /// requests that still got BUSY when they gave up
    pub busy_give_ups: u64,
    /// VMPCKs wiped by --give-up-on-error
    pub vmpcks_wiped: u64,
    pub reruns: u64,
    pub held_us: u64,
}

/// The printed line. `requests` counts attempts, including repetitions on BUSY: the sum of all
/// outcomes of requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub vms: u32,
    pub requests: u64,
    /// by message type; "raced" for requests of unknown type, "vmgexit" and "ordinary" for other
    /// actions
    pub outcomes: BTreeMap<String, BTreeMap<String, u64>>,
    /// by the same names
    pub busy_give_ups: BTreeMap<String, u64>,
    pub vmpcks_wiped: u64,
    /// of attempts
    pub latency_us: Latency,
    /// without VMs that died
    pub per_vm: Vec<VmReport>,
    /// in order of each process's; without those of processes that died
    pub launches: Vec<LaunchReport>,
    /// average of an unrelated VMGEXIT
    pub vmgexit_us: f64,
    /// KVM_RUNs that failed with EINTR or EAGAIN and were repeated
    pub reruns: u64,
    /// for how long KVM_RUNs failed with these in a row, summed over vCPUs
    pub held_us: u64,
    /// user and system time of the VMs' processes while their guests ran
    pub cpu_us: u64,
    /// VMs whose process died before it reported
    pub died: u32,
    pub elapsed_s: f64,
}

impl Report {
    fn vmgexits(&self) -> u64 {
        self.outcomes.get("vmgexit").map_or(0, |m| m.values().sum())
    }

    /// Adds the report of the VMs' replacements.
    pub fn follow(&mut self, next: Self) {
        let (vms, elapsed_s) = (self.vms, self.elapsed_s + next.elapsed_s);
        self.add(next);
        (self.vms, self.elapsed_s) = (vms, elapsed_s);
    }

    /// Adds the report of another VM or process that ran concurrently.
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
        self.vmpcks_wiped += other.vmpcks_wiped;
        self.per_vm.extend(other.per_vm);
        self.launches.extend(other.launches);
        self.reruns += other.reruns;
        self.held_us += other.held_us;
        self.cpu_us += other.cpu_us;
        self.died += other.died;
        self.elapsed_s = self.elapsed_s.max(other.elapsed_s);
        for (kind, n) in other.busy_give_ups {
            *self.busy_give_ups.entry(kind).or_default() += n;
        }
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
    use crate::outcome::{Action, Outcome};
    use crate::tally::Tally;
    use std::time::Duration;

    fn launch(name: &str) -> LaunchReport {
        let (name, result) = (name.to_owned(), "ok".to_owned());
        LaunchReport { name, begin_ns: 1, duration_ns: 2, pages: 256, vcpus: 1, result }
    }

    fn report(name: &str, attempts: &[(Outcome, u64)], elapsed_s: f64) -> Report {
        let mut tally = Tally::default();
        for (outcome, us) in attempts {
            let took = Duration::from_micros(*us);
            tally.add(Action::Request(5), *outcome, took);
            tally.add_whole(Action::Request(5), *outcome, took);
        }
        let launches = vec![launch(name)];
        Report { elapsed_s, cpu_us: 10, launches, ..tally.report(name.into()) }
    }

    #[test]
    fn reports_add_up() {
        let mut a = report("a", &[(Outcome::Ok, 100)], 1.0);
        a.add(report("b", &[(Outcome::Ok, 400), (Outcome::Errno(5), 400)], 2.0));
        assert_eq!((a.vms, a.requests, a.cpu_us), (2, 3, 20));
        assert!((a.latency_us.avg - 300.0).abs() < 1e-6 && a.latency_us.max > 399.0);
        assert!((a.elapsed_s - 2.0).abs() < 1e-9);
        let expected = BTreeMap::from([("ok".to_owned(), 2), ("errno:5".to_owned(), 1)]);
        assert_eq!(a.outcomes["5"], expected);
    }

    #[test]
    fn replacements_are_not_other_vms_and_their_time_adds_up() {
        let mut a = report("a", &[(Outcome::Ok, 100)], 1.0);
        a.follow(report("a", &[(Outcome::Ok, 100)], 2.0));
        assert_eq!((a.vms, a.requests, a.per_vm.len()), (1, 2, 2));
        assert_eq!(a.launches, [launch("a"), launch("a")]);
        assert!((a.elapsed_s - 3.0).abs() < 1e-9);
    }

    #[test]
    fn vms_of_other_processes_stay_separate() {
        let child = report("b", &[(Outcome::Busy, 100)], 1.0);
        let line = serde_json::to_string(&child).unwrap();
        let mut a = report("a", &[(Outcome::Ok, 200)], 1.0);
        a.add(serde_json::from_str(&line).unwrap());
        let seen: Vec<_> = a.per_vm.iter().map(|vm| (vm.name.as_str(), vm.requests)).collect();
        assert_eq!(seen, [("a", 1), ("b", 1)]);
        assert_eq!(a.per_vm[1], child.per_vm[0]);
        assert_eq!(a.launches, [launch("a"), launch("b")]);
        assert_eq!(a.busy_give_ups["5"], 1);
    }
}
