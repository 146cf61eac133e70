//! # What a load's guests saw, and its launches

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What the guests saw.
pub struct LoadReport {
    pub requests: u64,
    /// By message type (a number, or "raced"), then by outcome: ok, busy, fw:0x16, errno:5.
    pub outcomes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests that still got BUSY when their guest gave up.
    pub gave_up: u64,
    /// VMPCKs that guests never use again, with --give-up-on-error.
    pub vmpcks_wiped: u64,
    pub per_vm: Vec<VmReport>,
    /// KVM_RUNs that failed with EINTR or EAGAIN and were repeated, and the time that took.
    pub reruns: u64,
    pub held: Duration,
    /// How long the guests ran.
    pub elapsed: Duration,
    /// CPU time of the VMs' processes.
    pub cpu: Duration,
    pub launches: Vec<LaunchReport>,
}

/// A launch, as its VMM saw it.
#[derive(Debug)]
pub struct LaunchReport {
    pub name: String,
    /// CLOCK_MONOTONIC before LAUNCH_START, like the firmware's and the agent's times.
    pub begin_ns: u64,
    /// To the end of LAUNCH_FINISH, or of the last step.
    pub duration_ns: u64,
    /// Measured pages, without the vCPUs' state.
    pub pages: u64,
    pub vcpus: u64,
    /// ok, abandoned, fw:0x16, errno:22.
    pub result: String,
}

/// What one VM's guest saw. A request includes its repetitions on BUSY.
pub struct VmReport {
    pub name: String,
    pub requests: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
    pub busy: u64,
}

/// The report in what snpload prints.
pub fn parse(text: &str) -> Result<LoadReport> {
    let line = text.lines().last().context("no report")?;
    let report: Value = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
    let mut outcomes = BTreeMap::new();
    for (message, of) in report["outcomes"].as_object().context("no outcomes")? {
        outcomes.insert(message.clone(), counts(of).context("outcomes are no objects")?);
    }
    let per_vm = report["per_vm"].as_array().context("no per_vm")?;
    let launches = report["launches"].as_array().context("no launches")?;
    Ok(LoadReport {
        requests: count(&report, "requests")?,
        outcomes,
        gave_up: counts(&report["busy_give_ups"]).context("no busy_give_ups")?.values().sum(),
        vmpcks_wiped: count(&report, "vmpcks_wiped")?,
        per_vm: per_vm.iter().map(vm).collect::<Result<_>>()?,
        reruns: count(&report, "reruns")?,
        held: time(&report, "held_us")?,
        elapsed: seconds(&report, "elapsed_s")?,
        cpu: time(&report, "cpu_us")?,
        launches: launches.iter().map(launch).collect::<Result<_>>()?,
    })
}

fn launch(launch: &Value) -> Result<LaunchReport> {
    Ok(LaunchReport {
        name: text(launch, "name")?,
        begin_ns: count(launch, "begin_ns")?,
        duration_ns: count(launch, "duration_ns")?,
        pages: count(launch, "pages")?,
        vcpus: count(launch, "vcpus")?,
        result: text(launch, "result")?,
    })
}

fn vm(vm: &Value) -> Result<VmReport> {
    Ok(VmReport {
        name: text(vm, "name")?,
        requests: count(vm, "requests")?,
        p50: time(vm, "p50_us")?,
        p99: time(vm, "p99_us")?,
        max: time(vm, "max_us")?,
        busy: count(vm, "busy")?,
    })
}

fn counts(value: &Value) -> Option<BTreeMap<String, u64>> {
    value.as_object()?.iter().map(|(name, n)| Some((name.clone(), n.as_u64()?))).collect()
}

fn count(value: &Value, name: &str) -> Result<u64> {
    value[name].as_u64().with_context(|| format!("no {name} in the report"))
}

fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name].as_str().with_context(|| format!("no {name} in the report"))?.to_owned())
}

fn seconds(value: &Value, name: &str) -> Result<Duration> {
    let s = value[name].as_f64().with_context(|| format!("no {name} in the report"))?;
    Ok(Duration::from_secs_f64(s))
}

/// A duration in microseconds.
fn time(value: &Value, name: &str) -> Result<Duration> {
    let us = value[name].as_f64().with_context(|| format!("no {name} in the report"))?;
    Ok(Duration::from_secs_f64(us / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let line = concat!(
            r#"{"vms":1,"requests":5,"outcomes":{"5":{"ok":3},"9":{"ok":1,"fw:0x16":1}},"#,
            r#""busy_give_ups":{"5":2,"9":1},"vmpcks_wiped":4,"reruns":7,"held_us":2000000,"cpu_us":500,"#,
            r#""elapsed_s":1.5,"launches":[{"name":"a","begin_ns":7,"duration_ns":9,"#,
            r#""pages":256,"vcpus":2,"result":"fw:0x16"}],"per_vm":["#,
            r#"{"name":"a","requests":4,"p50_us":99.5,"p99_us":1000.0,"max_us":2000.0,"busy":1}]}"#,
        );
        let seen = parse(line).unwrap();
        assert_eq!(seen.requests, 5);
        assert_eq!(seen.outcomes["5"]["ok"], 3);
        assert_eq!(seen.outcomes["9"]["fw:0x16"], 1);
        assert_eq!((seen.gave_up, seen.vmpcks_wiped), (3, 4));
        assert_eq!(seen.reruns, 7);
        assert_eq!((seen.held, seen.cpu), (Duration::from_secs(2), Duration::from_micros(500)));
        assert_eq!(seen.elapsed, Duration::from_millis(1500));
        let launch = &seen.launches[0];
        assert_eq!((launch.name.as_str(), launch.result.as_str()), ("a", "fw:0x16"));
        assert_eq!((launch.begin_ns, launch.duration_ns), (7, 9));
        assert_eq!((launch.pages, launch.vcpus), (256, 2));
        let vm = &seen.per_vm[0];
        assert_eq!((vm.name.as_str(), vm.requests, vm.busy), ("a", 4, 1));
        assert_eq!((vm.p50, vm.p99), (Duration::from_nanos(99_500), Duration::from_millis(1)));
    }
}
