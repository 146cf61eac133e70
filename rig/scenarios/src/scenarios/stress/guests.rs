//! # Guests and their counts

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use guestreq_common::message::MessageType;
use serde_json::Value;

use crate::{
    agent::json,
    exposition::Metrics,
    host::wait_until,
    load::{self, Load, LoadReport},
};

const RATE: f64 = 4.0;
const BURST: f64 = 4.0;
/// Changes a PromQL query that contains it unescaped.
const HOSTILE_NAME: &str = "q`$__range`";
/// Options of VMs that run to the end; exports are denied to all.
const ASK: &str = "--vmm qemu --busy-retry-ms 50 --busy-give-up-ms 600000 --seconds 1000000";

/// Reports are denied to two VMs by name, and one VM is limited.
pub fn lines() -> String {
    let deny = |name: &str| format!("[[vm]]\nmatch = {{ name = '{name}' }}\nallow = [\"key\"]\n");
    format!(
        "keep_exited_vms = \"1d\"\n{}{}[[vm]]\nmatch = {{ name = \"greedy\" }}\nlimit = {{ rate = \
         \"{RATE}/s\", burst = {BURST} }}\n",
        deny("strict"),
        deny(HOSTILE_NAME),
    )
}

/// A VM in its own process.
pub struct Guest {
    pub name: String,
    pub pid: u32,
    load: Load,
    since: Instant,
}

impl Guest {
    pub fn start(name: &str, more: &str) -> Result<Guest> {
        let since = Instant::now();
        let load = load::start_named(&format!("{ASK} {more}"), Some(name))?;
        let mut pid = None;
        wait_until("its process runs", super::round::STEP_TIMEOUT, || {
            pid = load.processes()?.into_iter().find(|pid| *pid != load.pid());
            Ok(pid.is_some())
        })?;
        Ok(Guest { name: name.to_owned(), pid: pid.context("no process")?, load, since })
    }

    /// Ends the VM and checks what its guest saw.
    pub fn finish(self) -> Result<Finished> {
        let Guest { name, pid, load, since } = self;
        let seen = load.stop()?;
        let denied = match name.as_str() {
            "strict" | HOSTILE_NAME => vec![5, 7],
            _ => vec![7],
        };
        for (kind, outcomes) in &seen.outcomes {
            let is_denied = denied.iter().any(|denied| denied.to_string() == *kind);
            let expected = if is_denied { "fw:0x16" } else { "ok" };
            let other = outcomes.keys().find(|key| *key != expected && *key != "busy");
            ensure!(other.is_none(), "{name:?}, type {kind}: {outcomes:?}");
        }
        let passed: u64 = seen.outcomes.values().filter_map(|of| of.get("ok")).sum();
        if name == "greedy" {
            let most = RATE * since.elapsed().as_secs_f64() + BURST;
            ensure!(passed as f64 <= most, "{passed} passed, the limit allows {most:.0}");
        }
        Ok(Finished { name, pid, seen })
    }
}

/// An exited VM and what its guest saw.
pub struct Finished {
    name: String,
    pid: u32,
    pub seen: LoadReport,
}

/// All VMs that run throughout.
pub fn start_all() -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    let many = "--rate 8 --vcpus 2 --vmpck all --type report,export,key";
    for name in ["web", "strict", "greedy"] {
        guests.push(Guest::start(name, many)?);
    }
    let few = "--rate 2 --type report,export";
    let long = "x".repeat(4000);
    let twins = [HOSTILE_NAME, "twin", "twin", "twin", "line\nfeed", "csi\u{9b}31m", &long, &long];
    for name in twins {
        guests.push(Guest::start(name, few)?);
    }
    // Not UTF-8; and labels that other VMs have or would get.
    guests.push(Guest::start("caf\u{e9}", &format!("{few} --latin1"))?);
    guests.push(Guest::start("caf\u{e8}", &format!("{few} --latin1"))?);
    let twin = guests[5].pid;
    for name in [format!("twin@{twin}"), format!("twin@{twin}.2"), format!("unread-{twin}")] {
        guests.push(Guest::start(&name, few)?);
    }
    Ok(guests)
}

/// The counts of each VM equal what its guest saw, by type and result; returns the sum.
pub fn exact(finished: &[Finished], metrics: &Metrics) -> Result<u64> {
    let vms = json("vms")?;
    let vms = vms["vms"].as_array().context("no vms")?;
    let mut all = 0;
    for Finished { name, pid, seen } in finished {
        let reported: Vec<&Value> = vms.iter().filter(|vm| vm["pid"] == *pid).collect();
        let [vm] = reported.as_slice() else {
            bail!("{name:?} is listed {} times", reported.len())
        };
        let label = vm["vm"].as_str().context("no label")?;
        let mut truth: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (kind, outcomes) in &seen.outcomes {
            let kind = MessageType::of(kind.parse().context("a type")?).name().to_owned();
            for (outcome, count) in outcomes {
                let result = if outcome == "fw:0x16" { "denied" } else { outcome };
                *truth.entry((kind.clone(), result.to_owned())).or_default() += count;
                all += count;
            }
        }
        let mut counted = BTreeMap::new();
        for sample in metrics.select("guestreq_requests_total", &[("vm", label)]) {
            if sample.value > 0.0 {
                let key = (sample.labels["message"].clone(), sample.labels["result"].clone());
                counted.insert(key, sample.value as u64);
            }
        }
        ensure!(counted == truth, "{name:?} ({label:?}): {counted:?}, its guest saw {truth:?}");
    }
    Ok(all)
}
