//! # What shares achieve
//!
//! How much of the PSP a pushing VM gets with a share of it, and what a hostile guest gains by
//! inventing sequence numbers.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Map, json};

use super::report;
use crate::{
    agent::Agent,
    enforcing::Enforcing,
    host::{Firmware, wait_until},
    load,
    scenarios::lost_vmpcks,
};

/// How long the fake PSP takes for a request, in µs: at least, and at most that much more.
const SERVICES: [(&str, u64, u64); 3] =
    [("2ms", 2_000, 0), ("40ms", 40_000, 0), ("mixed", 2_000, 76_000)];
const SHARE: f64 = 0.1;
const SECONDS: u64 = 30;
const SETTLE: Duration = Duration::from_secs(5);

pub fn run(long: bool) -> Result<()> {
    let seconds = if long { 4 * SECONDS } else { SECONDS };
    // The default burst follows the PSP's mean time, and would change meanwhile.
    let host = Enforcing::start("limit = { share = \"10%\", burst = \"200ms\" }\n")?;
    for (services, latency, jitter) in SERVICES {
        Firmware::set("latency_us", latency)?;
        Firmware::set("jitter_us", jitter)?;
        let used = used_share(&host.agent, services, Duration::from_secs(seconds))?;
        println!("  services of {services}: {used:.5} of the PSP");
        let key = format!("share_{services}_deviation_percent");
        let deviation = (used / SHARE - 1.0).abs() * 100.0;
        report(&Map::from_iter([(key, json!(deviation))]).into());
    }
    Firmware::reset()?;
    host.end()?;
    invented_numbers()
}

/// Of a VM that pushes, once its burst is used up.
fn used_share(agent: &Agent, vm: &str, time: Duration) -> Result<f64> {
    let mut load = load::start(&format!(
        "--vmm qemu --name {vm} --seconds 3600 --busy-retry-ms 2 --busy-give-up-ms 600000"
    ))?;
    wait_until("it gets BUSY", Duration::from_secs(60), || {
        let busy = [("vm", vm), ("decision", "busy")];
        Ok(agent.scrape()?.sum("guestreq_decisions_total", &busy) > 3.0)
    })?;
    // Scrapes took the emulated processors from it: it catches up what its share allowed meanwhile.
    thread::sleep(SETTLE);
    let clock = Instant::now();
    let first = next_begin(agent, vm, clock)?;
    thread::sleep(time);
    let last = next_begin(agent, vm, clock)?;
    ensure!(load.is_running()?, "the load has ended too early");
    load.stop()?;
    Ok((last.psp - first.psp) / (last.at - first.at))
}

/// The begin of a request, and the VM's PSP time before it, in seconds.
struct Begin {
    at: f64,
    psp: f64,
}

/// Of the next request to end. Between two ends there are the services of all requests but the
/// first, and the pauses after all but the last: with services of different lengths, the begins tell
/// the share.
fn next_begin(agent: &Agent, vm: &str, clock: Instant) -> Result<Begin> {
    let psp = psp_seconds(agent, vm)?;
    loop {
        let service = psp_seconds(agent, vm)? - psp;
        if service > 0.0 {
            return Ok(Begin { at: clock.elapsed().as_secs_f64() - service, psp });
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn psp_seconds(agent: &Agent, vm: &str) -> Result<f64> {
    let labels = [("vm", vm), ("class", "request")];
    Ok(agent.scrape()?.sum("guestreq_vm_psp_seconds_total", &labels))
}

/// In µs; as published.
const SERVICE_US: u64 = 7_700;
/// Two rescues of a message.
const HOSTILE_SECONDS: u64 = 65;

/// Guests that may send one request an hour. Two of them invent numbers to get more; the last one
/// repeats each, and so gets what can be had.
const HOSTILE: [(&str, &str); 3] = [
    ("one-vmpck", "--fault gap:2 --rate 50 --busy-give-up-ms 0"),
    ("all-vmpcks", "--vcpus 4 --vmpck all --fault gap:3 --rate 12 --busy-give-up-ms 0"),
    ("patient", "--vcpus 4 --vmpck all --busy-retry-ms 100 --busy-give-up-ms 600000"),
];

fn invented_numbers() -> Result<()> {
    Firmware::set("latency_us", SERVICE_US)?;
    let host = Enforcing::start("limit = { rate = \"1/h\", burst = 1, force = true }\n")?;
    let start = Instant::now();
    let mut loads = Vec::new();
    for (name, how) in HOSTILE {
        loads.push(load::start(&format!(
            "--vmm qemu --name {name} {how} --seconds {HOSTILE_SECONDS} --hold"
        ))?);
    }
    thread::sleep(Duration::from_secs(HOSTILE_SECONDS));
    let (seconds, metrics) = (start.elapsed().as_secs_f64(), host.agent.scrape()?);
    let mut most = 0.0_f64;
    for (name, _) in HOSTILE {
        let of = |metric: &str| metrics.sum(metric, &[("vm", name)]);
        let decided = |decision: &str| {
            metrics.sum("guestreq_decisions_total", &[("vm", name), ("decision", decision)])
        };
        let (admitted, busy) = (decided("admit"), decided("busy"));
        ensure!(admitted >= 1.0 && busy > 100.0, "{name}: {admitted} admitted, {busy} refused");
        // One was its due.
        let gained = psp_seconds(&host.agent, name)? * (admitted - 1.0) / admitted / seconds;
        let rescued = of("guestreq_rescued_total");
        println!("  {name}: {busy} refused, {admitted} admitted, {rescued} of them rescued");
        most = most.max(gained * 100.0);
    }
    for load in loads {
        load.stop()?;
    }
    Firmware::reset()?;
    host.end()?;
    report(&json!({ "invented_numbers_gain_percent": most }));
    Ok(())
}

/// What becomes of VMPCKs if the PSP cannot serve all.
pub fn overload(_: bool) -> Result<()> {
    let found = lost_vmpcks::measure()?;
    println!("  {found:?}");
    report(&json!({
        "vmpcks_lost": found.lost.max(found.wiped),
        "vmpcks_longest_wait_s": found.longest.as_secs_f64(),
        "vmpcks_rescued": found.rescued,
        "vmpcks_vms": found.vms,
    }));
    Ok(())
}
