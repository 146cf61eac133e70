//! # A hostile VMM
//!
//! Any process that shares a VM's memory can run its vCPUs, and a process can change its name at
//! any time. Only what the VM's policy allows reaches the firmware, and all of it counts for the
//! VM.

mod agents;
pub mod capacity;
mod contexts;
mod hidden_processes;
mod new_vms;
pub mod processes;

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::takeover::{self, Host};
use crate::{
    agent::{self, Agent, cli},
    exposition::Metrics,
    host::{Firmware, wait_until},
    load::{self, Load, LoadReport},
    scenario::{Group, Status},
};

pub const GROUP: Group = Group {
    name: "attack",
    memory_mib: 2048,
    scenarios: &[
        processes::LIMIT,
        processes::DENIED,
        processes::SCRIBBLED,
        new_vms::HASTY,
        capacity::PARKED,
        contexts::SEVERAL,
        contexts::UNSEEN,
        agents::MOVES,
    ],
    once: &[
        processes::FREE,
        capacity::THOUSAND,
        capacity::CHURN,
        capacity::CONTEXTS_FULL,
        capacity::THREADS_FULL,
        capacity::EVICTED,
        capacity::FLOOD,
        contexts::RESET,
        contexts::BURST,
        contexts::REUSE,
        agents::REPLACED,
        hidden_processes::VANISH,
        hidden_processes::HIDEPID,
        hidden_processes::HIDDEN,
        hidden_processes::HIDDEN_LONG,
    ],
    ..Group::DEFAULT
};

/// Options of a VM that waits for the cue after its first request.
const WAITING: &str = "--vmm qemu --cue /tmp/cue --cue-after 1 --busy-retry-ms 5";
const CUE: &str = "/tmp/cue";
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// A host that enforces, and its firmware's counts at the start.
struct AttackedHost {
    host: Host,
    agent: Agent,
    before: Firmware,
}

impl AttackedHost {
    /// With these lines as configuration.
    fn start(lines: &str) -> Result<AttackedHost> {
        no_cue();
        let host = Host::fresh(lines)?;
        let agent = takeover::start(&[])?;
        Ok(AttackedHost { host, agent, before: Firmware::read()? })
    }

    /// The requests that reached the firmware; fails if a disallowed type is among them.
    fn reached(&self) -> Result<u64> {
        Ok(self.host.firmware()?.guest_requests)
    }

    /// Waits until a VM is known by its name and has this many answered requests.
    fn wait_for_requests(&mut self, vm: &str, requests: f64) -> Result<()> {
        self.agent.wait_until(&format!("{vm} has {requests} requests"), |metrics| {
            metrics.sum("guestreq_requests_total", &[("vm", vm), ("result", "ok")]) >= requests
        })?;
        Ok(())
    }

    /// The counts equal the firmware's, for the host and each guest, which has its own record and
    /// label. Nothing was bypassed, and the agent reports so.
    fn is_exact(&self) -> Result<()> {
        self.host.exact(&self.agent)?;
        let firmware = Firmware::read()?.since(&self.before);
        let metrics = self.agent.scrape()?;
        let guests: u64 = firmware.contexts.values().map(|(launches, _)| launches).sum();
        let labels = metrics.values("guestreq_vm_info", "vm");
        let records = labels.len() as u64;
        ensure!(records == guests, "{records} records of {guests} guests: {labels:?}");
        let distinct = answered(&metrics).len();
        ensure!(distinct == labels.len(), "{distinct} labels of {records} records: {labels:?}");
        // A reused address holds the sum of two guests.
        if firmware.contexts.values().all(|(launches, _)| *launches == 1) {
            let mut truth: Vec<u64> = firmware.contexts.values().map(|(_, n)| *n).collect();
            let mut counted: Vec<u64> = answered(&metrics).into_values().collect();
            truth.sort_unstable();
            counted.sort_unstable();
            ensure!(counted == truth, "by VM {counted:?}, by guest context {truth:?}");
        }
        Ok(())
    }

    /// Nothing was bypassed, and the agent reports so, whatever was lost.
    fn nothing_bypassed(&self) -> Result<()> {
        let bypassed = self.agent.scrape()?.sum("guestreq_enforcement_bypassed_total", &[]);
        ensure!(bypassed == 0.0, "{bypassed} requests are reported as bypassed");
        let (status, why) = agent::get("/readyz")?;
        ensure!(status == 200, "{why}");
        Ok(())
    }

    fn end(self) -> Result<Status> {
        no_cue();
        self.host.end(self.agent)?;
        Ok(Status::Passed)
    }
}

/// Requests that the firmware answered, by the VM's label.
pub fn answered(metrics: &Metrics) -> BTreeMap<String, u64> {
    let labels = metrics.values("guestreq_vm_info", "vm");
    let requests = |vm: &str, result: Option<&str>| -> u64 {
        let mut labels = vec![("vm", vm)];
        labels.extend(result.map(|result| ("result", result)));
        metrics.sum("guestreq_requests_total", &labels) as u64
    };
    let of = |vm: &str| {
        let refused = ["denied", "busy", "host_error"].map(|result| requests(vm, Some(result)));
        requests(vm, None) - refused.iter().sum::<u64>()
    };
    labels.into_iter().map(|vm| (vm.clone(), of(&vm))).collect()
}

/// Lets waiting VMs continue under the name with this index.
fn cue(name: u32) -> Result<()> {
    // Atomically, as it is polled.
    fs::write("/tmp/cue.new", name.to_string())?;
    fs::rename("/tmp/cue.new", CUE).context("the cue")
}

fn no_cue() {
    let _ = fs::remove_file(CUE);
}

/// A known VM that is now denied reports and waits for the cue.
fn denied(attacked: &mut AttackedHost, name: &str, options: &str) -> Result<Load> {
    let load = load::start(&format!("{WAITING} --name {name} {options}"))?;
    attacked.wait_for_requests(name, 1.0)?;
    cli(&["policy", "deny", "report", "--vm", name, "--yes"])?;
    Ok(load)
}

/// How many of a load's requests the firmware answered.
fn passed(seen: &LoadReport) -> u64 {
    seen.outcomes.values().filter_map(|of| of.get("ok")).sum()
}

/// Waits until this many requests have reached the firmware.
fn wait_until_sent(before: &Firmware, requests: u64) -> Result<()> {
    wait_until(&format!("{requests} requests have reached the firmware"), STEP_TIMEOUT, || {
        Ok(Firmware::read()?.since(before).guest_requests >= requests)
    })
}
