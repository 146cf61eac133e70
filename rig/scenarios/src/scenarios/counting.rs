//! # The agent's counts equal the firmware's

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use guestreq_common::{message::MessageType, outcome::Outcome};

use crate::{
    agent::Agent,
    exposition::Metrics,
    host::{self, Firmware},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(COUNTS_EQUAL_THE_FIRMWARE: "counting/exact" = counts,
    "every count equals the firmware's, while the agent is scraped");
scenario!(night TWO_HUNDRED_VMS: "counting/many_vms" = two_hundred, "200 VMs are counted separately");
scenario!(EVERY_STATUS: "counting/statuses" = every_status,
    "every firmware status is counted under its name");

/// Many VMs at once, with own and shared processes and all kinds of behavior, while the agent is
/// scraped.
fn counts(context: &Context) -> Result<Status> {
    let total: u64 = if context.long { 1_050_000 } else { 5_500 };
    // A long run outlasts the default retention of five minutes.
    let agent = Agent::with_config("keep_exited_vms = \"1d\"\n")?;
    let before = Firmware::read()?;
    // Shares in percent; misbehaving VMs do so in some of their requests.
    let shares = [
        (40, "--vms 16 --processes --name alone --type report,key,tsc_info", 16),
        (30, "--vms 12 --name together --type report,key", 12),
        (20, "--vms 4 --processes --vcpus 4 --vmpck all --name smp --type report", 16),
        (4, "--vms 2 --processes --name jumpy --fault gap:5", 2),
        (4, "--vms 2 --processes --name repeats --fault replay:5", 2),
        (2, "--vms 2 --processes --name hostile --fault type-random", 2),
    ];
    let mut loads = Vec::new();
    for (share, arguments, vcpus) in shares {
        let count = (total * share / 100).div_ceil(vcpus);
        loads.push(load::start(&format!("{arguments} --count {count}"))?);
    }
    let (mut requests, mut scrapes) = (0, 0);
    for mut load in loads {
        while load.is_running()? {
            agent.scrape()?;
            scrapes += 1;
            std::thread::sleep(Duration::from_millis(200));
        }
        requests += load.finish()?.requests;
    }
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered >= total, "{answered} of {total} requests were answered");
    ensure!(answered == requests, "the firmware answered {answered}, the guests sent {requests}");
    println!("exact: {answered} requests of 38 VMs, {scrapes} scrapes, 0 lost");
    Ok(Status::Passed)
}

fn two_hundred(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let load = load::start("--vms 200 --processes --vmm qemu --name vm --count 5 --hold")?;
    agent.wait_until("200 VMs have made their requests", |metrics| {
        metrics.values("guestreq_vm_info", "vm").len() >= 200
            && metrics.sum("guestreq_requests_total", &[]) >= 1000.0
    })?;
    let metrics = agent.scrape()?;
    for i in 0..200 {
        let vm = format!("vm-{i}");
        let count = metrics.sum("guestreq_requests_total", &[("vm", &vm)]);
        ensure!(count == 5.0, "{vm} made {count} requests");
    }
    let resident = resident_kib(agent.pid())?;
    println!("200 VMs: the agent has {resident} KiB resident");
    ensure!(resident < 32 * 1024, "the agent has {resident} KiB resident");
    load.finish()?;
    assert_exact(&agent, &before)?;
    Ok(Status::Passed)
}

/// A process' resident memory.
pub fn resident_kib(pid: u32) -> Result<u64> {
    status_kib(pid, "VmRSS:")
}

/// Its anonymous memory, without pages of its executable, which the kernel may drop.
pub fn anonymous_kib(pid: u32) -> Result<u64> {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("its status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context(field.to_owned())
}

fn every_status(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    Firmware::set("status", 1)?;
    Firmware::set("status_steps", 1)?;
    load::run("--count 63")?;
    host::Firmware::reset()?;
    let metrics = agent.scrape()?;
    for status in 1..=0x28u8 {
        let name = Outcome(status).name();
        let labels = [("result", name)];
        let count = metrics.sum("guestreq_messages_total", &labels);
        ensure!(count >= 1.0, "status {status:#x} is not counted as {name}");
    }
    assert_exact(&agent, &before)?;
    Ok(Status::Passed)
}

/// Counts by message and result.
pub type RequestCounts = BTreeMap<(String, String), u64>;

/// The firmware's counts under the agent's names.
pub fn expected(firmware: &Firmware) -> RequestCounts {
    let mut counts = RequestCounts::new();
    for (&(message, status), count) in &firmware.messages {
        let ret = if status == 0 { 0 } else { -5 };
        let name = Outcome::of_command(ret, status).name();
        let key = (MessageType::of(message).name().to_owned(), name.to_owned());
        *counts.entry(key).or_default() += count;
    }
    counts
}

/// The agent's counts of what the firmware answered, for the host or summed over VMs.
pub fn counted(metrics: &Metrics, name: &str) -> RequestCounts {
    let mut counts = RequestCounts::new();
    for sample in metrics.select(name, &[]) {
        let label = |label: &str| sample.labels.get(label).cloned().unwrap_or_default();
        let key = (label("message"), label("result"));
        if sample.value > 0.0 && key.1 != Outcome::HOST_ERROR.name() {
            *counts.entry(key).or_default() += sample.value as u64;
        }
    }
    counts
}

/// The central promise: by message and result, the agent's counts equal the firmware's for the host
/// and summed over VMs, and nothing was lost.
pub fn assert_exact(agent: &Agent, before: &Firmware) -> Result<u64> {
    assert_exact_but(agent, before, "nothing")
}

/// The same, with one permitted reason for losses.
pub fn assert_exact_but(agent: &Agent, before: &Firmware, excused: &str) -> Result<u64> {
    let firmware = Firmware::read()?.since(before);
    exact(&firmware, &agent.scrape()?, excused)
}

/// The same, of counts that were read before.
pub fn exact(firmware: &Firmware, metrics: &Metrics, excused: &str) -> Result<u64> {
    let expected = expected(firmware);
    for name in ["guestreq_messages_total", "guestreq_requests_total"] {
        let counted = counted(metrics, name);
        ensure!(counted == expected, "{name} {counted:?}, the firmware {expected:?}");
    }
    let mut lost = losses(metrics);
    lost.remove(excused);
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let answered: u64 = firmware.messages.values().sum();
    let timed = metrics.sum("guestreq_request_duration_seconds_count", &[]) as u64;
    ensure!(timed == answered, "{timed} durations of {answered} requests");
    Ok(answered)
}

/// Losses by reason, except missed tracepoints, which cost no request's count.
pub fn losses(metrics: &Metrics) -> BTreeMap<String, u64> {
    let samples = metrics.select("guestreq_events_lost_total", &[]);
    samples
        .filter(|sample| sample.value > 0.0 && sample.labels["reason"] != "tracepoint_missed")
        .map(|sample| (sample.labels["reason"].clone(), sample.value as u64))
        .collect()
}
