//! # A VM's counts
//!
//! Kept by each vCPU and merged for the VM.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::outcome::{Action, Outcome};
use crate::report::{Latency, Report, VmReport};
use crate::reruns::Reruns;

#[derive(Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(Action, Outcome), u64>,
    requests: u64,
    request_time: Duration,
    request_max: Duration,
    vmgexits: u64,
    vmgexit_time: Duration,
    /// from the first attempt to the answer
    whole: Histogram,
    busy_give_ups: BTreeMap<Action, u64>,
    pub wiped: u64,
    pub reruns: Reruns,
}

impl Tally {
    /// Counts an attempt.
    pub fn add(&mut self, action: Action, outcome: Outcome, took: Duration) {
        *self.counts.entry((action, outcome)).or_default() += 1;
        match action {
            Action::Request(_) | Action::Raced => {
                self.requests += 1;
                self.request_time += took;
                self.request_max = self.request_max.max(took);
            }
            Action::Vmgexit => {
                self.vmgexits += 1;
                self.vmgexit_time += took;
            }
            Action::Ordinary => {}
        }
    }

    /// Counts a whole request by its last attempt.
    pub fn add_whole(&mut self, action: Action, last: Outcome, took: Duration) {
        if last.is_answer() {
            self.whole.add(took);
        }
        if last == Outcome::Busy {
            *self.busy_give_ups.entry(action).or_default() += 1;
        }
    }

    pub fn merge(&mut self, other: Self) {
        for (what, n) in other.counts {
            *self.counts.entry(what).or_default() += n;
        }
        self.requests += other.requests;
        self.request_time += other.request_time;
        self.request_max = self.request_max.max(other.request_max);
        self.vmgexits += other.vmgexits;
        self.vmgexit_time += other.vmgexit_time;
        self.whole.merge(other.whole);
        for (action, n) in other.busy_give_ups {
            *self.busy_give_ups.entry(action).or_default() += n;
        }
        self.wiped += other.wiped;
        self.reruns.merge(other.reruns);
    }

    pub fn report(self, name: String) -> Report {
        let average = |time: Duration, n: u64| {
            if n == 0 { 0.0 } else { time.as_secs_f64() * 1e6 / n as f64 }
        };
        let mut outcomes = BTreeMap::<String, BTreeMap<String, u64>>::new();
        let mut busy = 0;
        for ((action, outcome), n) in self.counts {
            busy += if outcome == Outcome::Busy { n } else { 0 };
            outcomes.entry(action.key()).or_default().insert(outcome.key(), n);
        }
        let held_us = self.reruns.held.as_micros() as u64;
        let vm = VmReport {
            name,
            requests: self.whole.count(),
            p50_us: self.whole.percentile_us(50.0),
            p99_us: self.whole.percentile_us(99.0),
            max_us: self.whole.max_us(),
            busy,
            busy_give_ups: self.busy_give_ups.values().sum(),
            vmpcks_wiped: self.wiped,
            reruns: self.reruns.count,
            held_us,
        };
        Report {
            vms: 1,
            requests: self.requests,
            outcomes,
            busy_give_ups: self.busy_give_ups.iter().map(|(d, n)| (d.key(), *n)).collect(),
            vmpcks_wiped: self.wiped,
            latency_us: Latency {
                avg: average(self.request_time, self.requests),
                max: self.request_max.as_secs_f64() * 1e6,
            },
            per_vm: vec![vm],
            vmgexit_us: average(self.vmgexit_time, self.vmgexits),
            reruns: self.reruns.count,
            held_us,
            ..Report::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_request_counts_once_however_often_it_was_busy() {
        let mut tally = Tally::default();
        let action = Action::Request(5);
        for outcome in [Outcome::Busy, Outcome::Busy, Outcome::Ok] {
            tally.add(action, outcome, MS);
        }
        tally.add_whole(action, Outcome::Ok, 30 * MS);
        tally.add(action, Outcome::Busy, MS);
        tally.add_whole(action, Outcome::Busy, 20 * MS);
        tally.add(action, Outcome::Errno(1), MS);
        tally.add_whole(action, Outcome::Errno(1), MS);

        let report = tally.report("a".into());
        assert_eq!(report.requests, 5, "attempts");
        assert_eq!(report.busy_give_ups, BTreeMap::from([("5".to_owned(), 1)]));
        let vm = &report.per_vm[0];
        assert_eq!((vm.name.as_str(), vm.requests, vm.busy, vm.busy_give_ups), ("a", 2, 3, 1));
        assert!((vm.max_us - 30e3).abs() < 1e-6 && vm.p99_us > 29e3);
        assert!(vm.p50_us > 19e3 && vm.p50_us < 21e3);
    }

    #[test]
    fn vcpus_of_a_vm_are_counted_together() {
        let vcpu = |outcome, ms| {
            let mut tally = Tally::default();
            tally.add(Action::Raced, outcome, ms * MS);
            tally.add_whole(Action::Raced, outcome, ms * MS);
            tally.reruns.repeat(libc::EAGAIN);
            tally
        };
        let mut vm = vcpu(Outcome::Ok, 1);
        vm.merge(vcpu(Outcome::Firmware(0x16), 3));
        let report = vm.report("a".into());
        let expected = BTreeMap::from([("ok".to_owned(), 1), ("fw:0x16".to_owned(), 1)]);
        assert_eq!(report.outcomes["raced"], expected);
        assert_eq!((report.vms, report.reruns), (1, 2));
        assert_eq!((report.per_vm.len(), report.per_vm[0].requests), (1, 2));
    }
}
