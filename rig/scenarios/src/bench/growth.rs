//! # How cost grows
//!
//! With VMs and with requests. Times on an emulated machine can only be compared with each other.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::{
    cost::{ON_REQUESTS, of, of_empty, per, print_each, until_sent},
    programs, report,
    subjects::{self, MeasuredAgent},
};
use crate::{agent, bpf::Statistics, host::Firmware, load, scenarios::counting::resident_kib};

/// The last is close to a host's number of ASIDs.
const VMS: [u64; 4] = [1, 10, 100, 500];
const SCRAPES: u32 = 5;

pub fn run(long: bool) -> Result<()> {
    let _on = Statistics::on()?;
    requests(if long { 1_000_000 } else { 10_000 })?;
    VMS.into_iter().try_for_each(|count| vms(count, if long { 20_000 } else { 2_000 }))
}

/// Requests of each VM before measuring: creating its records is not part of the cost.
const WARM: u64 = 10;
/// Measured requests of each VM, at least.
const EACH: u64 = 20;

fn vms(count: u64, requests: u64) -> Result<()> {
    let agent = MeasuredAgent::start()?;
    let empty = subjects::empty()?;
    let each = requests.div_ceil(count).max(EACH) + WARM;
    let first = Firmware::read()?;
    let load = load::start(&format!(
        "--vms {count} --processes --vmm qemu --name vm --start-together --count {each} --hold"
    ))?;
    until_sent(&first, count * WARM)?;
    let by_program = programs::all(&agent.ids)?;
    let (before, empty_before) = (sent(&agent)?, of_empty(&empty)?);
    until_sent(&first, count * each)?;
    let (requests, ns) = since(&before, &sent(&agent)?);
    let empty_ns = of_empty(&empty)?.1 - empty_before.1;
    println!("  {count} VMs");
    print_each(&by_program, &programs::all(&agent.ids)?);
    let (bytes, seconds) = scrape(&agent)?;
    report(&json!({ "growth_vms": {
        "vms": count, "bpf_ns_per_request": per(ns, requests), "requests": requests,
        "empty_ns_per_request": per(empty_ns, requests),
        "emulated_scrape_ms": seconds * 1e3, "exposition_bytes": bytes,
        "rss_mib": resident_kib(agent.agent.pid())? as f64 / 1024.0,
    }}));
    load.finish()?;
    Ok(())
}

/// The firmware's counts, and the time of our programs on the path of requests.
type Sent = (Firmware, u64);

fn sent(agent: &MeasuredAgent) -> Result<Sent> {
    Ok((Firmware::read()?, of(&agent.ids, &ON_REQUESTS)?.1))
}

fn since(before: &Sent, after: &Sent) -> (u64, u64) {
    (after.0.since(&before.0).guest_requests, after.1 - before.1)
}

/// Bytes, and seconds of the fastest of some scrapes.
fn scrape(agent: &MeasuredAgent) -> Result<(usize, f64)> {
    agent.agent.scrape()?;
    let (mut bytes, mut seconds) = (0, f64::MAX);
    for _ in 0..SCRAPES {
        let start = Instant::now();
        let (_, body) = agent::get("/metrics")?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
        bytes = body.len();
    }
    Ok((bytes, seconds))
}

/// One VM: its first requests, then ten times as many each time.
fn requests(most: u64) -> Result<()> {
    let agent = MeasuredAgent::start()?;
    let first = Firmware::read()?;
    let load = load::start(&format!("--count {most} --hold"))?;
    let mut before = sent(&agent)?;
    let mut until = 10;
    while until <= most {
        until_sent(&first, until)?;
        let after = sent(&agent)?;
        let (requests, ns) = since(&before, &after);
        report(&json!({ "growth_requests": {
            "until": until, "requests": requests, "bpf_ns_per_request": per(ns, requests),
        }}));
        before = after;
        until *= 10;
    }
    load.finish()?;
    Ok(())
}
