//! # Skipped probes
//!
//! The kernel skips kprobe programs on a CPU while bpf(2) works on a map there, which any other
//! agent on the host may cause. Decided requests must not count as bypassed then, nor answered ones
//! as host errors. Here a hook's index in the program array is emptied now and then.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use guestreq_common::{command::SNP_DECOMMISSION, tail_calls::kprobe};

use super::{counted, losses, takeover::PINS};
use crate::{
    agent::{self, Agent},
    bpf::MissedTailCall,
    enforcing::Enforcing,
    exposition::Metrics,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(CALL: "skipped_probes/admitted" = call,
    "a request that the gate admitted counts as decided, whichever probes are skipped");
scenario!(START: "skipped_probes/start" = start,
    "a request whose start was skipped is lost, not a host error");
scenario!(DECIDED: "skipped_probes/decisions" = decided,
    "a VM keeps its decisions even if no request's end was seen");

/// Makes a hook's program miss now and then, for this long.
fn miss_repeatedly(place: u32, time: Duration) -> Result<u32> {
    let (begin, mut times) = (Instant::now(), 0);
    while begin.elapsed() < time {
        MissedTailCall::begin(&format!("{PINS}/maps/KPROBES"), place)?.end()?;
        times += 1;
    }
    Ok(times)
}

fn host_errors(metrics: &Metrics) -> f64 {
    metrics.sum("guestreq_messages_total", &[("result", "host_error")])
}

/// What is not counted is reported as lost, and nothing else. The bpf(2) calls here make the kernel
/// skip other programs, too, and it counts each miss.
fn accounted_for(metrics: &Metrics, firmware: &Firmware) -> Result<()> {
    let counted: u64 = counted(metrics, "guestreq_messages_total").values().sum();
    let lost = losses(metrics);
    println!("{counted} counted of {}, lost: {lost:?}", firmware.guest_requests);
    let known = counted + lost.get("request_unmatched").copied().unwrap_or(0);
    ensure!(known <= firmware.guest_requests, "{known} are counted or lost");
    let sum = counted + lost.values().sum::<u64>();
    ensure!(sum >= firmware.guest_requests, "{sum} are accounted for");
    Ok(())
}

/// With the gate ccp is called twice for a request: here either call is missed, or both.
fn call(context: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let before = Firmware::read()?;
    Firmware::set("latency_us", 100)?;
    let seconds = if context.long { 60 } else { 6 };
    let load = load::start(&format!("--vms 2 --processes --vmm qemu --seconds {seconds}"))?;
    let times = miss_repeatedly(kprobe::ISSUE_COMMAND, Duration::from_secs(seconds - 1))?;
    let seen = load.finish()?;
    Firmware::reset()?;
    let firmware = Firmware::read()?.since(&before);
    let (metrics, counts) = (agent.scrape()?, gate.counts()?);
    println!("{} requests, and {times} times a program was missed", seen.requests);
    ensure!(seen.requests == firmware.guest_requests, "{} requests", seen.requests);
    ensure!(counts.admitted == seen.requests && counts.sum() == counts.admitted, "{counts:?}");
    let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} count as bypassed, though the gate decided each");
    let decided = metrics.sum("guestreq_decisions_total", &[]) as u64;
    ensure!(decided == seen.requests, "{decided} decisions");
    ensure!(host_errors(&metrics) == 0.0, "{} host errors", host_errors(&metrics));
    accounted_for(&metrics, &firmware)?;
    let (status, why) = agent::get("/readyz")?;
    ensure!(status == 200, "{why}");
    Enforcing { agent, gate }.end()
}

/// No program sees the PSP take a request.
fn start(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let load = load::start("--vms 2 --processes --vmm qemu --seconds 4")?;
    std::thread::sleep(Duration::from_secs(1));
    let times = miss_repeatedly(kprobe::COMMAND_START, Duration::from_secs(2))?;
    load.finish()?;
    let firmware = Firmware::read()?.since(&before);
    let metrics = agent.scrape()?;
    let lost = losses(&metrics).get("request_unmatched").copied().unwrap_or(0);
    println!("{lost} lost, {times} times a program was missed");
    ensure!(lost > 0, "none was missed");
    let anomalies = metrics.sum("guestreq_sequence_anomalies_total", &[]);
    ensure!(anomalies == 0.0, "{anomalies} gaps of guests that left out no number");
    ensure!(host_errors(&metrics) == 0.0, "{} host errors", host_errors(&metrics));
    accounted_for(&metrics, &firmware)?;
    Ok(Status::Passed)
}

/// Only a VM's decisions are counted, as neither start nor end in the PSP is seen. They stay with
/// that VM after its exit.
fn decided(_: &Context) -> Result<Status> {
    const REQUESTS: u64 = 20;
    const CUE: &str = "/tmp/cue";
    let Enforcing { mut agent, gate } = Enforcing::start("")?;
    let _ = fs::remove_file(CUE);
    let before = Firmware::read()?;
    let load =
        load::start(&format!("--vmm qemu --name alone --count {REQUESTS} --cue {CUE} --hold"))?;
    agent.wait_until("the VM is known", |metrics| {
        metrics.sum("guestreq_vm_info", &[("vm", "alone")]) == 1.0
    })?;
    let array = format!("{PINS}/maps/KPROBES");
    let skipped =
        [kprobe::COMMAND_START, kprobe::COMMAND_END].map(|it| MissedTailCall::begin(&array, it));
    fs::write(CUE, "")?;
    let reached = || Ok(Firmware::read()?.since(&before).guest_requests == REQUESTS);
    wait_until("the requests have reached the firmware", Duration::from_secs(30), reached)?;
    for missed in skipped {
        missed?.end()?;
    }
    load.stop()?;
    let decommissioned = |firmware: &Firmware| firmware.commands.contains_key(&SNP_DECOMMISSION);
    wait_until("the VM has ended", Duration::from_secs(30), || {
        Ok(decommissioned(&Firmware::read()?.since(&before)))
    })?;
    let decisions = agent.scrape()?.sum("guestreq_decisions_total", &[("vm", "alone")]);
    ensure!(decisions == REQUESTS as f64, "{decisions} decisions");
    fs::remove_file(CUE)?;
    Enforcing { agent, gate }.end()
}
