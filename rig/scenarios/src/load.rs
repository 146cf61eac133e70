//! # Guests
//!
//! snpload creates the VMs; what its guests saw is compared with what the agent counted.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, ChildStdin, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::agent;

/// A running load.
pub struct Load {
    /// None once its end is awaited.
    child: Option<Child>,
    pid: u32,
    /// Closing it ends a load that holds its VMs.
    input: Option<ChildStdin>,
    arguments: String,
}

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

/// Most scenarios are about guest requests, not launches, and start up to 1,000 VMs: each measured
/// page would cost time and memory, 1 MiB per VM by snpload's default. Where launches matter, the
/// arguments say how many pages.
const NO_PAGES: [&str; 2] = ["--pages", "0"];

/// Starts a load; arguments as on the command line, but by default no pages are measured.
pub fn start(arguments: &str) -> Result<Load> {
    start_named(arguments, None)
}

/// The same, with a VM name that may contain anything.
pub fn start_named(arguments: &str, name: Option<&str>) -> Result<Load> {
    let has_pages = arguments.split_whitespace().any(|word| word == "--pages");
    let mut child = Command::new("/bin/snpload")
        .args(NO_PAGES.iter().filter(|_| !has_pages))
        .args(arguments.split_whitespace())
        .args(name.map(|name| ["--name", name]).iter().flatten())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("snpload {arguments}"))?;
    let input = child.stdin.take();
    let pid = child.id();
    Ok(Load { child: Some(child), pid, input, arguments: arguments.to_owned() })
}

/// Runs a load to its end.
pub fn run(arguments: &str) -> Result<LoadReport> {
    start(arguments)?.finish()
}

/// A file that `--launch-cue` waits for; removed when dropped.
pub struct Cue(String);

impl Cue {
    pub fn new(name: &str) -> Cue {
        let cue = Cue(format!("/tmp/launch-cue-{name}"));
        cue.remove();
        cue
    }

    pub fn path(&self) -> &str {
        &self.0
    }

    pub fn give(&self) -> Result<()> {
        fs::write(&self.0, "").with_context(|| self.0.clone())
    }

    fn remove(&self) {
        // Mostly there is none.
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Cue {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Load {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn is_running(&mut self) -> Result<bool> {
        let child = self.child.as_mut().context("it has ended")?;
        Ok(child.try_wait().context("snpload")?.is_none())
    }

    /// Stops the guests, releases held VMs, and returns what they saw.
    pub fn stop(self) -> Result<LoadReport> {
        agent::signal(self.pid, libc::SIGTERM)?;
        self.finish()
    }

    /// Calls `what` while no guest runs and no request is in flight.
    pub fn while_stopped<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        let processes = self.processes()?;
        let signal = |number| processes.iter().try_for_each(|pid| agent::signal(*pid, number));
        signal(libc::SIGSTOP)?;
        // Requests in the kernel run to their end.
        sleep(Duration::from_millis(500));
        let result = what();
        signal(libc::SIGCONT)?;
        result
    }

    /// Its pid and those of its VMs.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut found = vec![self.pid];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // "pid (name) state parent …", where a name may contain anything.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
            let parent = after.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
            if parent == Some(self.pid) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Releases held VMs, waits for the end and returns what the guests saw.
    pub fn finish(self) -> Result<LoadReport> {
        let arguments = self.arguments.clone();
        let output = self.end()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = stderr.lines().rev().take(3).collect();
        ensure!(output.status.success(), "snpload {arguments}: {}, {tail:?}", output.status);
        parse(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("snpload {arguments}"))
    }

    /// The same for a load that may fail.
    pub fn end(mut self) -> Result<Output> {
        drop(self.input.take());
        let child = self.child.take().context("it has ended")?;
        child.wait_with_output().with_context(|| format!("snpload {}", self.arguments))
    }
}

/// A failed scenario leaves no load behind.
impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its VMs' processes exit with it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn parse(text: &str) -> Result<LoadReport> {
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
