//! # Checking each scrape
//!
//! Each scrape is compared with the previous one and with the counts of firmware and gate just
//! before and after it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use anyhow::{Result, bail, ensure};

use super::Shared;
use crate::{
    agent,
    exposition::{Metrics, Sample},
    scenarios::{losses, takeover::Host},
};

/// More than there are vCPUs: each may have a request that only one side has counted yet.
const UNDER_WAY: u64 = 40;
/// Counters of the agent process; all others are in the kernel and survive it.
const ITS_OWN: [&str; 1] = ["guestreq_log_lines_dropped_total"];

#[derive(Default)]
pub struct ScrapeChecks {
    checked: u64,
    /// While the agent was being replaced.
    unanswered: u64,
    not_verified: u64,
    most_dropped: f64,
    last: HashMap<String, f64>,
    /// When each label's record was created.
    since: BTreeMap<String, f64>,
}

impl fmt::Display for ScrapeChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScrapeChecks { checked, unanswered, not_verified, most_dropped, .. } = self;
        write!(
            f,
            "{checked} scrapes checked ({not_verified} not yet verified, {unanswered} during \
             restarts unanswered, {most_dropped} log lines reported as dropped)"
        )
    }
}

pub fn watch(shared: &Shared, host: &Host) -> Result<ScrapeChecks> {
    let mut scraped = ScrapeChecks::default();
    while !shared.is_over() {
        // Held, the agent stays up; otherwise it may be being replaced.
        let up = shared.up.try_read();
        let before = counts(host)?;
        match agent::get("/metrics") {
            Ok((status, text)) => {
                ensure!(status == 200, "/metrics answers {status}: {text}");
                let after = counts(host)?;
                scraped.check(&text, [before, after], up.is_ok(), shared)?;
                scraped.checked += 1;
            }
            Err(error) if up.is_ok() => {
                return Err(error.context("/metrics of an agent that is up"));
            }
            Err(_) => scraped.unanswered += 1,
        }
        drop(up);
        thread::sleep(Duration::from_millis(50));
    }
    Ok(scraped)
}

/// Requests answered by the firmware and denied by the gate.
fn counts(host: &Host) -> Result<[u64; 2]> {
    Ok([host.firmware()?.guest_requests, host.gate()?.denied])
}

impl ScrapeChecks {
    fn check(&mut self, text: &str, truth: [[u64; 2]; 2], is_up: bool, it: &Shared) -> Result<()> {
        let metrics = Metrics::parse(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        ensure!(metrics.samples.len() == lines, "{lines} lines, {} read", metrics.samples.len());
        check_unique(&metrics)?;
        self.check_monotonic(text, &metrics)?;
        let counted = answered_and_denied(&metrics);
        for ((counted, before), after) in counted.into_iter().zip(truth[0]).zip(truth[1]) {
            let may_be = before.saturating_sub(UNDER_WAY)..=after + UNDER_WAY;
            ensure!(
                may_be.contains(&counted),
                "{counted} counted; {before} before it and {after} after"
            );
        }
        let lost = losses(&metrics);
        ensure!(lost.is_empty(), "reported as lost: {lost:?}");
        let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
        ensure!(bypassed == 0.0, "{bypassed} are reported as bypassed");
        let infos: Vec<&Sample> = metrics.select("guestreq_enforcement_info", &[]).collect();
        let [info] = infos.as_slice() else { bail!("enforcement is reported as {infos:?}") };
        ensure!(info.labels["mode"] == "enforce", "the configured mode is enforce: {info:?}");
        let is_verified = info.labels["verified"] == "true";
        ensure!(is_verified || !is_up, "an agent that is up has it not verified");
        self.not_verified += u64::from(!is_verified);
        let dropped = metrics.sum("guestreq_log_lines_dropped_total", &[]);
        let is_read = is_up && it.log_is_read.load(Ordering::Relaxed);
        ensure!(dropped == 0.0 || !is_read, "{dropped} lines dropped of a log that is read");
        self.most_dropped = self.most_dropped.max(dropped);
        Ok(())
    }

    /// No counter decreases, except for a label that another VM now has.
    fn check_monotonic(&mut self, text: &str, metrics: &Metrics) -> Result<()> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let rising: BTreeMap<&str, &str> = types.filter(|(_, kind)| *kind != "gauge").collect();
        let since: BTreeMap<String, f64> = metrics
            .select("guestreq_vm_first_seen_timestamp_seconds", &[])
            .map(|sample| (sample.labels["vm"].clone(), sample.value))
            .collect();
        let mut last = HashMap::new();
        for sample in &metrics.samples {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
                sample.name.strip_suffix(end).filter(|name| rising.contains_key(name))
            });
            let name = family.unwrap_or(&sample.name);
            if !rising.contains_key(name) || ITS_OWN.contains(&name) {
                continue;
            }
            let key = format!("{}{:?}", sample.name, sample.labels);
            let vm = sample.labels.get("vm");
            let same = vm.is_none_or(|vm| self.since.get(vm) == since.get(vm));
            let before = self.last.get(&key).copied().unwrap_or(0.0);
            ensure!(
                !same || sample.value >= before,
                "{key} fell from {before} to {}",
                sample.value
            );
            last.insert(key, sample.value);
        }
        for key in self.last.keys().filter(|key| !key.contains("\"vm\": ")) {
            ensure!(last.contains_key(key), "{key} has disappeared");
        }
        (self.last, self.since) = (last, since);
        Ok(())
    }
}

/// No two samples have the same name and labels, and no two VMs the same label.
fn check_unique(metrics: &Metrics) -> Result<()> {
    let mut series = HashMap::new();
    for sample in &metrics.samples {
        let again = series.insert((&sample.name, &sample.labels), sample.value);
        ensure!(again.is_none(), "twice: {sample:?}");
    }
    let mut labels = metrics.values("guestreq_vm_info", "vm");
    let all = labels.len();
    labels.sort_unstable();
    labels.dedup();
    ensure!(labels.len() == all, "{all} VMs have {} labels", labels.len());
    Ok(())
}

fn answered_and_denied(metrics: &Metrics) -> [u64; 2] {
    let of = |result: &str| metrics.sum("guestreq_messages_total", &[("result", result)]);
    let refused = ["denied", "busy", "host_error"].map(of);
    let all = metrics.sum("guestreq_messages_total", &[]);
    [(all - refused.iter().sum::<f64>()) as u64, refused[0] as u64]
}
