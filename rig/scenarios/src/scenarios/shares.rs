//! # Shares of the PSP's time, and messages that keep their place

mod quiet;
mod returning;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::vcpu_backend;
use crate::{
    agent::Agent,
    enforcing::Enforcing,
    host::{Firmware, wait_until},
    load::{self, Load},
    scenario::{Context, Group, Status, scenario},
};

scenario!(timed PSP_TIME: "shares/psp_time" = psp_time,
    "a VM that pushes gets its share of the PSP's time, whatever a request costs");
scenario!(night timed VCPU: "shares/vcpu" = vcpu,
    "the vcpu backend keeps a share, too");
scenario!(timed AUDIT: "shares/audit" = audit,
    "audit counts what a share would refuse, and charges nothing for it");

pub const GROUP: Group = Group {
    name: "shares",
    once: &[PSP_TIME, quiet::QUIET_VM, VCPU, AUDIT, returning::RETURNING],
    ..Group::DEFAULT
};

/// Share of these scenarios.
const SHARE: f64 = 0.1;

const LIMIT: &str = "limit = { share = \"10%\" }\n";

/// How long the fake PSP takes for a request, in µs: at least, and at most that much more.
const SERVICES: [(&str, u64, u64); 3] =
    [("2 ms", 2_000, 0), ("40 ms", 40_000, 0), ("2 to 78 ms", 2_000, 76_000)];

/// A VM that sends in a loop with one vCPU.
fn pushing(name: &str, seconds: u64) -> Result<Load> {
    load::start(&format!(
        "--vmm qemu --name {name} --seconds {seconds} --busy-retry-ms 2 --busy-give-up-ms 600000"
    ))
}

/// The share of the PSP that a VM uses: the slope of its PSP time over some seconds. Many
/// observations, as its time grows by a whole request at once.
fn slope(agent: &Agent, vm: &str, seconds: u64) -> Result<f64> {
    let start = Instant::now();
    let mut points = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds) {
        let at = start.elapsed().as_secs_f64();
        let labels = [("vm", vm), ("class", "request")];
        points.push((at, agent.scrape()?.sum("guestreq_vm_psp_seconds_total", &labels)));
        thread::sleep(Duration::from_millis(20));
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (at, psp) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - at) * (point.1 - psp)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - at).powi(2)).sum();
    Ok(covariance / variance)
}

/// The share of the PSP that a pushing VM used for some seconds, once its burst was used up.
fn used_share(agent: &Agent, vm: &str, seconds: u64) -> Result<f64> {
    let mut load = pushing(vm, seconds + 120)?;
    wait_until("it gets BUSY", Duration::from_secs(60), || {
        let busy = [("vm", vm), ("decision", "busy")];
        Ok(agent.scrape()?.sum("guestreq_decisions_total", &busy) > 3.0)
    })?;
    let used = slope(agent, vm, seconds)?;
    ensure!(load.is_running()?, "the load has ended too early");
    load.stop()?;
    Ok(used)
}

fn psp_time(context: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start(LIMIT)?;
    for (i, (services, latency, jitter)) in SERVICES.into_iter().enumerate() {
        Firmware::set("latency_us", latency)?;
        Firmware::set("jitter_us", jitter)?;
        let seconds = if context.long { 30 } else { 6 };
        let used = used_share(&agent, &format!("pusher-{i}"), seconds)?;
        println!("services of {services}: {used:.4} of the PSP in {seconds} s");
        // In six seconds one service of 78 ms is an eighth of the share.
        let tolerance = if context.long { 0.01 } else { 0.15 };
        let ratio = used / SHARE;
        ensure!((ratio - 1.0).abs() <= tolerance, "services of {services}: {used:.4}");
    }
    Firmware::reset()?;
    Enforcing { agent, gate }.end()
}

fn vcpu(_: &Context) -> Result<Status> {
    // It is held for 400 ms after each request, less than the longest hold.
    Firmware::set("latency_us", 40_000)?;
    let agent = vcpu_backend::holding(LIMIT)?;
    let load = load::start("--vmm qemu --name held --seconds 60")?;
    thread::sleep(Duration::from_secs(5));
    let used = slope(&agent, "held", 10)?;
    let seen = load.stop()?;
    println!("{used:.4} of the PSP, held for {:?}", seen.held);
    ensure!((0.9..=1.05).contains(&(used / SHARE)), "{used:.4}");
    ensure!(!seen.outcomes["5"].contains_key("busy"), "{:?}", seen.outcomes);
    Firmware::reset()?;
    vcpu_backend::end(agent)
}

fn audit(_: &Context) -> Result<Status> {
    Firmware::set("latency_us", 20_000)?;
    let agent = Agent::with_config(&format!("mode = \"audit\"\n{LIMIT}"))?;
    let before = Firmware::read()?;
    let start = Instant::now();
    let seen = load::run("--vmm qemu --name audited --count 200")?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(seen.outcomes["5"].get("ok") == Some(&200), "{:?}", seen.outcomes);
    ensure!(Firmware::read()?.since(&before).guest_requests == 200, "some were refused");
    let metrics = agent.scrape()?;
    let of = |decision| {
        let labels = [("vm", "audited"), ("decision", decision), ("mode", "audit")];
        metrics.sum("guestreq_decisions_total", &labels)
    };
    let (admitted, busy) = (of("admit"), of("busy"));
    // The burst, and a tenth of the time, at what a request takes here.
    let service = metrics
        .sum("guestreq_vm_psp_seconds_total", &[("vm", "audited"), ("class", "request")])
        / 200.0;
    let due = (0.2 + SHARE * seconds) / service + 1.0;
    println!("{admitted} admitted and {busy} refused of 200 in {seconds:.1} s: {due:.1} are due");
    ensure!(admitted + busy == 200.0, "{admitted} and {busy}");
    ensure!((admitted - due).abs() <= 0.1 * due + 1.0, "{admitted} admitted, {due:.1} are due");
    ensure!(metrics.sum("guestreq_vmpcks_lost_total", &[]) == 0.0, "audit loses no VMPCK");
    Firmware::reset()?;
    vcpu_backend::end(agent)
}
