//! # Hostile guests at full speed
//!
//! Random headers, every type, every key, and pages written while the kernel copies them, on
//! several VMs and vCPUs at once. The seed is printed.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    counting::{anonymous_kib, resident_kib},
    enforce::disallowed_that_reached,
    soak::length,
    takeover::{self, Host, Random},
};
use crate::{
    agent::cli,
    exposition::Metrics,
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(AT_FULL_SPEED: "hostile/full_speed" = at_full_speed,
    "hostile guests at full speed bypass nothing, falsify no count and take no memory");

pub const GROUP: Group = Group { name: "hostile", once: &[AT_FULL_SPEED], ..Group::DEFAULT };

/// What docs/metrics.md promises.
const MOST_SERIES: usize = 160;
/// Allocators keep some freed memory: nearly 4 MiB more were seen after twelve seconds, none
/// between the first and the third minute.
const SLACK_KIB: u64 = 6 << 10;
/// The agent's largest permitted resident memory.
const MOST_KIB: u64 = 32 << 10;
/// Twice as many events as the agent keeps.
const EVENTS: u64 = 20_000;

const GUESTS: [&str; 5] = [
    "--vmm qemu --vms 2 --name noise\"\\\u{1b}[31m --vcpus 2 --vmpck all --fault noise",
    "--vmm cloud-hypervisor --name types --vcpus 2 --vmpck all --fault type-random",
    "--vmm qemu --name scribbler --vcpus 2 --vmpck all --type report,export,key --scribble",
    "--vmm firecracker --name racer --vcpus 2 --vmpck all --race report:export",
    "--vmm qemu --name ones --vmpck all --fault ff",
];

fn at_full_speed(context: &Context) -> Result<Status> {
    let length = length(context, Duration::from_secs(12), Duration::from_secs(300))?;
    let host = Host::fresh("keep_exited_vms = \"1d\"\n")?;
    let agent = takeover::start(&[])?;
    let seed = Random::new()?.0;
    println!("seed {seed}");
    let mut loads = Vec::new();
    for guests in GUESTS {
        let seconds = length.as_secs_f64();
        loads.push(load::start(&format!("{guests} --seed {seed} --seconds {seconds}"))?);
    }
    let (start, mut early, mut late, mut most_resident) = (Instant::now(), None, 0, 0);
    let mut metrics = Metrics::default();
    let mut scrapes = 0;
    while start.elapsed() < length {
        thread::sleep(Duration::from_millis(500));
        metrics = agent.scrape()?;
        bounded(&metrics)?;
        scrapes += 1;
        most_resident = most_resident.max(resident_kib(agent.pid())?);
        late = anonymous_kib(agent.pid())?;
        if start.elapsed() >= length / 3 && early.is_none() && events()? >= EVENTS {
            early = Some(late);
        }
    }
    let mut sent = 0;
    for load in loads {
        let seen = load.finish()?;
        sent += seen.requests;
        if let Some(raced) = seen.outcomes.get("raced") {
            ensure!(raced.len() > 1, "nothing was read otherwise than it was written: {raced:?}");
            println!("raced: {raced:?}");
        }
    }
    let answered = host.exact(&agent)?;
    let reached = disallowed_that_reached(&host.firmware()?);
    ensure!(reached == 0, "{reached} disallowed messages reached the PSP");
    let metrics_now = agent.scrape()?;
    let most = bounded(&metrics_now)?;
    let gate = host.gate()?;
    ensure!(gate.denied > 0 && answered > 0, "{gate:?}, {answered} answered");
    let errors = metrics_now.sum("guestreq_messages_total", &[("result", "host_error")]);
    println!(
        "{:.0} s, {sent} requests of guests, {answered} answered and counted, {} denied, {errors} \
         failed on the host, 0 disallowed passed; at most {most} series of a VM; {late} KiB of \
         memory, when the journal was full {early:?}, at most {most_resident} KiB resident; \
         {scrapes} scrapes, the last of {} kB",
        length.as_secs_f64(),
        gate.denied,
        metrics.text.len() / 1000
    );
    ensure!(most_resident < MOST_KIB, "{most_resident} KiB resident");
    if let Some(early) = early {
        ensure!(late <= early + SLACK_KIB, "{early} KiB when the journal was full, {late} at last");
    }
    host.end(agent)?;
    Ok(Status::Passed)
}

/// How many events the agent has kept or forgotten; of denials some may be lost.
fn events() -> Result<u64> {
    let last = cli(&["events", "-n", "1", "--no-follow", "-o", "json"])?;
    let last: Value = serde_json::from_str(&last).context("an event")?;
    last["id"].as_u64().context("an event's number")
}

/// No VM has more series than promised; returns the largest number.
fn bounded(metrics: &Metrics) -> Result<usize> {
    let mut most = 0;
    for vm in metrics.values("guestreq_vm_info", "vm") {
        let series = metrics.series_of_vm(&vm);
        ensure!(series <= MOST_SERIES, "{vm:?} has {series} series");
        most = most.max(series);
    }
    Ok(most)
}
