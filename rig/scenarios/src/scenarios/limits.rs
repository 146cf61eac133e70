//! # Limits

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    agent::{Agent, cli},
    enforcing::Enforcing,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(timed ADMITTED_RATE: "limits/admitted_rate" = admitted_rate,
    "the admitted rate is the configured one, however hard VMs push");
scenario!(FIRST_REQUEST: "limits/first_request" = first_request,
    "the first request after `limit set` is decided by the new limit");
scenario!(timed FAIRNESS: "limits/fairness" = fairness,
    "VMs that send in a loop do not slow a well-behaved one once they are limited");

/// VMs that send as fast as they can against a limit.
pub struct SaturatingLoad {
    pub vms: u64,
    pub rate: u64,
    pub burst: u64,
    pub seconds: u64,
}

impl SaturatingLoad {
    /// The limit as a line of the configuration.
    pub fn limit(&self) -> String {
        format!("limit = {{ rate = \"{}/s\", burst = {} }}\n", self.rate, self.burst)
    }

    /// How many requests it admits.
    pub fn expected(&self) -> u64 {
        self.vms * (self.rate * self.seconds + self.burst)
    }

    /// Requests admitted in total, and for the VM with the fewest.
    pub fn run(&self) -> Result<(u64, u64)> {
        let SaturatingLoad { vms, seconds, .. } = self;
        let before = Firmware::read()?;
        let seen = load::run(&format!(
            "--vms {vms} --processes --name saturating --vcpus 1 --start-together --seconds {seconds} \
             --busy-retry-ms 5 --busy-give-up-ms 600000"
        ))?;
        let admitted = Firmware::read()?.since(&before).guest_requests;
        Ok((admitted, seen.per_vm.iter().map(|vm| vm.requests).min().unwrap_or(0)))
    }
}

fn admitted_rate(context: &Context) -> Result<Status> {
    let load = SaturatingLoad {
        vms: 16,
        rate: 10,
        burst: 4,
        seconds: if context.long { 120 } else { 20 },
    };
    // Beside other guests its vCPUs may not run in time to send what is left to them.
    let least_part = if context.is_lenient() { 0.95 } else { 0.99 };
    let Enforcing { agent, gate } = Enforcing::start(&load.limit())?;
    let mut seen = Vec::new();
    for _ in 0..context.attempts() {
        let (admitted, least) = load.run()?;
        let expected = load.expected();
        let ratio = admitted as f64 / expected as f64;
        println!("admitted {admitted}, configured {expected}: {ratio:.4}; least of a VM {least}");
        // VMs start at slightly different times, and the last request may come after the end.
        ensure!(ratio <= 1.01, "admitted {admitted}, configured {expected}");
        if ratio >= least_part {
            return Enforcing { agent, gate }.end();
        }
        seen.push(admitted);
    }
    bail!("admitted {seen:?}, configured {}", load.expected())
}

fn first_request(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let mut load = load::start("--vmm qemu --name steady --count 4000 --rate 200")?;
    thread::sleep(Duration::from_secs(2));
    for round in 0..6 {
        // One an hour: the first is admitted at once, then none.
        let limit = || {
            cli(&["limit", "set", "--vm", "steady", "--rate", "1/h", "--burst", "1", "--force"])?;
            Firmware::read()
        };
        // A request decided earlier may reach the PSP after the command has returned.
        let (before, under_way) =
            if round % 2 == 0 { (load.while_stopped(limit)?, 0) } else { (limit()?, 1) };
        thread::sleep(Duration::from_millis(300));
        let passed = Firmware::read()?.since(&before).guest_requests;
        ensure!(passed <= 1 + under_way, "round {round}: {passed} passed by the old limit");
        cli(&["limit", "set", "--vm", "steady", "--off"])?;
        let before = Firmware::read()?;
        thread::sleep(Duration::from_millis(300));
        let passed = Firmware::read()?.since(&before).guest_requests;
        ensure!(passed > 3, "round {round}: {passed} passed though the limit is off");
    }
    ensure!(load.is_running()?, "the load has ended too early");
    load.ask_to_stop()?;
    load.end()?;
    Enforcing { agent, gate }.end()
}

/// VMs that send in a loop and repeat on BUSY ten times as often as Linux guests.
const HAMMERING: u32 = 14;
/// The PSP's time for a request.
pub const SERVICE_US: u64 = 10_000;

/// p50 and p99 of a VM that sends 20 requests a second.
pub fn well_behaved(count: u32) -> Result<[Duration; 2]> {
    let seen = load::run(&format!("--vmm qemu --name meek --rate 20 --count {count}"))?;
    let vm = seen.per_vm.first().context("no VM")?;
    Ok([vm.p50, vm.p99])
}

/// The same while others send in a loop.
pub fn with_hammering(count: u32) -> Result<[Duration; 2]> {
    let mut hammers = load::start(&format!(
        "--vms {HAMMERING} --processes --name hammer --vcpus 4 --vmpck all --seconds 100 \
         --busy-retry-ms 200 --busy-give-up-ms 600000"
    ))?;
    thread::sleep(Duration::from_secs(4));
    let seen = well_behaved(count);
    hammers.ask_to_stop()?;
    hammers.end()?;
    seen
}

/// The PSP's measured time for a request, in seconds.
fn service(agent: &Agent) -> Result<f64> {
    let labels = [("stage", "psp_service"), ("message", "report")];
    let metrics = agent.scrape()?;
    let sum = metrics.sum("guestreq_stage_duration_seconds_sum", &labels);
    Ok(sum / metrics.sum("guestreq_stage_duration_seconds_count", &labels))
}

/// The limit for each hammering VM that gives them a quarter of the PSP's capacity together.
pub fn quarter_each(agent: &Agent) -> Result<String> {
    Ok(format!("{:.2}/s", 1.0 / service(agent)? / 4.0 / f64::from(HAMMERING)))
}

fn fairness(context: &Context) -> Result<Status> {
    Firmware::set("latency_us", SERVICE_US)?;
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let times = |than: [Duration; 2], p99: Duration| p99.as_secs_f64() / than[1].as_secs_f64();
    let (mut kept, mut unlimited) = (false, None);
    for _ in 0..context.attempts() {
        let alone = well_behaved(100)?;
        let unlimited = match unlimited {
            Some(unlimited) => unlimited,
            None => *unlimited.insert(with_hammering(20)?),
        };
        let (rate, service) = (quarter_each(&agent)?, service(&agent)?);
        cli(&["limit", "set", "--default", "--rate", &rate, "--burst", "1"])?;
        cli(&["limit", "set", "--vm", "meek", "--off"])?;
        let limited = with_hammering(200)?;
        cli(&["limit", "clear", "--default"])?;
        cli(&["limit", "clear", "--vm", "meek"])?;
        println!(
            "p50 and p99 of a well-behaved VM: alone {alone:.1?}, with {HAMMERING} hammering \
             ones {unlimited:.1?} (p99 {:.1}x), those limited to {rate} each {limited:.1?} (p99 \
             {:.2}x); the PSP takes {:.1} ms",
            times(alone, unlimited[1]),
            times(alone, limited[1]),
            service * 1e3
        );
        // Other guests slow a request of 10 ms more than one that waits for many others.
        let near = context.is_lenient() || times(alone, limited[1]) <= 3.0;
        kept = near && limited[1] < unlimited[1] / 2;
        if kept {
            break;
        }
    }
    Firmware::reset()?;
    ensure!(
        kept,
        "its p99 is not within 3 times of its p99 alone and half of that without limits, in {} \
         attempts",
        context.attempts()
    );
    Enforcing { agent, gate }.end()
}
