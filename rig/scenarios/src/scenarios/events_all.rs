//! # Every request, one by one

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::losses;
use crate::{
    agent::{Agent, signal},
    follower::Follower,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const EXACT: Scenario = Scenario {
    name: "all_tells_every_request_or_how_many_it_could_not_and_ends_with_its_listener",
    check: exact,
};
pub const COST: Scenario =
    Scenario { name: "all_costs_what_it_is_said_to_cost_and_only_while_it_is_on", check: cost };

/// More than the programs' ring buffer holds.
const FLOOD: &str = "--vms 4 --count 1200";
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

fn follow_all() -> Result<Follower> {
    let follower = Follower::start(&["--all", "-n", "0"])?;
    wait_until("it listens to all", Duration::from_secs(30), || {
        load::run("--count 1")?;
        Ok(told(&follower.heard()?).0 > 0)
    })?;
    Ok(follower)
}

/// How many requests' ends were told, and how many events were lost.
fn told(heard: &[Value]) -> (u64, u64) {
    let ended = heard.iter().filter(|event| event.get("result").is_some()).count();
    let lost = heard.iter().filter(|event| event["kind"] == "lost");
    (ended as u64, lost.filter_map(|event| event["count"].as_u64()).sum())
}

fn exact(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    let follower = follow_all()?;
    let before = Firmware::read()?;
    // What was there when it began to listen.
    let start = told(&follower.heard()?);
    load::run("--vms 4 --processes --count 100 --type report,key,export")?;
    load::run("--count 20 --fault gap:3")?;
    let firmware = Firmware::read()?.since(&before).guest_requests;
    follower.wait_until("every request was told", |heard| told(heard).0 - start.0 >= firmware)?;
    let (ended, lost) = told(&follower.heard()?);
    ensure!((ended - start.0, lost) == (firmware, 0), "{ended} of {firmware} told, {lost} lost");
    println!("{firmware} requests, {firmware} told");

    let start = told(&follower.heard()?);
    let before = Firmware::read()?;
    flood(&agent)?;
    let firmware = Firmware::read()?.since(&before).guest_requests;
    let all = |heard: &[Value]| told(heard).0 + told(heard).1 - start.0 - start.1;
    follower.wait_until("each was told or counted", |heard| all(heard) >= firmware)?;
    let heard = follower.heard()?;
    let (ended, lost) = told(&heard);
    ensure!(all(&heard) == firmware && lost > 0, "{firmware}: {ended} told, {lost} lost");
    println!("{firmware} requests, {} told, {lost} lost", ended - start.0);
    let reasons: Vec<_> = heard.iter().filter_map(|event| event.get("reason")).collect();
    println!("{reasons:?}");

    // SIGKILL: it has no chance to say that it goes.
    drop(follower);
    sleep(Duration::from_secs(1));
    ensure_quiet(&agent)?;

    // An agent that is killed cannot switch it off.
    let follower = follow_all()?;
    agent.kill()?;
    drop(follower);
    let agent = Agent::start(&[])?;
    ensure_quiet(&agent)?;
    Ok(Outcome::Kept)
}

/// Requests while the agent sleeps.
fn flood(agent: &Agent) -> Result<()> {
    signal(agent.pid(), libc::SIGSTOP)?;
    let flood = load::run(FLOOD);
    signal(agent.pid(), libc::SIGCONT)?;
    flood.map(drop)
}

/// What nobody listens to is not told: it does not fill the ring buffer.
fn ensure_quiet(agent: &Agent) -> Result<()> {
    let before = losses(&agent.scrape()?);
    flood(agent)?;
    let after = losses(&agent.scrape()?);
    ensure!(before == after, "requests are still told: lost {before:?}, then {after:?}");
    Ok(())
}

fn cost(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    fs::write(STATISTICS, "1").context(STATISTICS)?;
    let measured = measure(&agent);
    fs::write(STATISTICS, "0").context(STATISTICS)?;
    let [without, with, after] = measured?;
    println!(
        "BPF time of a request: {without:.0} ns; with --all {with:.0} ns, {:.2}x; after it {:.2}x",
        with / without,
        after / without
    );
    // An emulator's times: they catch what is grossly wrong.
    ensure!(with > without && with < 3.0 * without, "--all costs {:.2}x", with / without);
    ensure!(after < with, "it costs as much when nobody listens any more");
    Ok(Outcome::Kept)
}

fn measure(agent: &Agent) -> Result<[f64; 3]> {
    let without = of_a_request(agent)?;
    let follower = follow_all()?;
    let with = of_a_request(agent)?;
    drop(follower);
    sleep(Duration::from_secs(1));
    Ok([without, with, of_a_request(agent)?])
}

/// All programs' time, by requests.
fn of_a_request(agent: &Agent) -> Result<f64> {
    // The first request of a thread makes its records.
    let held = load::start("--vms 2 --processes --count 500 --hold")?;
    let seconds = || Ok(agent.scrape()?.sum("guestreq_program_run_seconds_total", &[]));
    let before: Result<f64> = seconds();
    let firmware = Firmware::read()?;
    held.finish()?;
    let requests = Firmware::read()?.since(&firmware).guest_requests;
    Ok((seconds()? - before?) * 1e9 / requests.max(1) as f64)
}
