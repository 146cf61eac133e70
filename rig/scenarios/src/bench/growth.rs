//! # How cost grows
//!
//! With VMs, and with requests. An emulated machine's times are only good to be compared with
//! each other.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::{
    beside::Observed,
    cost::{per, until_sent},
    programs::{self, Statistics},
    report,
};
use crate::{agent, host::Firmware, load, scenarios::exactness::resident_kib};

/// The last one is almost as many as a host has ASIDs.
const VMS: [u64; 4] = [1, 10, 100, 500];
const SCRAPES: u32 = 5;

pub fn run(long: bool) -> Result<()> {
    let _on = Statistics::on()?;
    requests(if long { 1_000_000 } else { 10_000 })?;
    VMS.into_iter().try_for_each(|count| vms(count, if long { 20_000 } else { 2_000 }))
}

/// Each VM asks once to have its records; then all of them ask.
fn vms(count: u64, requests: u64) -> Result<()> {
    let agent = Observed::start()?;
    let each = requests.div_ceil(count) + 1;
    let first = Firmware::read()?;
    // One after the other until all are there: what is made then is no part of the cost.
    let load = load::start(&format!(
        "--vms {count} --processes --vmm qemu --name vm --start-together --count {each} --hold"
    ))?;
    until_sent(&first, count)?;
    let (warm, before) = (Firmware::read()?, programs::totals(&agent.ids)?);
    until_sent(&first, count * each)?;
    let after = programs::totals(&agent.ids)?;
    let sent = Firmware::read()?.since(&warm).guest_requests;
    let (bytes, seconds) = scrape(&agent)?;
    report(&json!({ "growth_vms": {
        "vms": count, "bpf_ns_per_request": per(after.1 - before.1, sent), "requests": sent,
        "emulated_scrape_ms": seconds * 1e3, "exposition_bytes": bytes,
        "rss_mib": resident_kib(agent.agent.pid())? as f64 / 1024.0,
    }}));
    load.finish()?;
    Ok(())
}

/// Bytes, and seconds of the quickest of some scrapes.
fn scrape(agent: &Observed) -> Result<(usize, f64)> {
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

/// One VM after the other, each with ten times as many requests.
fn requests(most: u64) -> Result<()> {
    let agent = Observed::start()?;
    let mut count = 1;
    while count <= most {
        let first = Firmware::read()?;
        let before = programs::totals(&agent.ids)?;
        let load = load::start(&format!("--count {count} --hold"))?;
        until_sent(&first, count)?;
        let after = programs::totals(&agent.ids)?;
        report(&json!({ "growth_requests": {
            "requests": count, "bpf_ns_per_request": per(after.1 - before.1, count),
        }}));
        load.finish()?;
        count *= 10;
    }
    Ok(())
}
