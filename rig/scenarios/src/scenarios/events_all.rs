//! # events --all

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{cost::ON_THE_WAY, losses};
use crate::{
    agent::{Agent, signal},
    bpf::Statistics,
    follower::Follower,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(EXACT: "events/all" = exact,
    "events --all reports every request or how many were lost, and ends with its follower");
scenario!(night timed COST: "events/all_cost" = cost,
    "events --all costs less per request than observing it does");

/// More than the programs' ring buffer holds.
const FLOOD: &str = "--vms 4 --count 1200";

/// Starts a follower and waits until it has every request so far: the last one has another type.
fn follow_all() -> Result<Follower> {
    let follower = Follower::start(&["--all", "-n", "0"])?;
    wait_until("it listens to all", Duration::from_secs(30), || {
        load::run("--count 1")?;
        Ok(reported(&follower.events()?).0 > 0)
    })?;
    load::run("--count 1 --type tsc_info")?;
    follower.wait_until("the last request was reported", |events| {
        events.iter().any(|event| event.get("result").is_some() && event["message"] == "tsc_info")
    })?;
    Ok(follower)
}

/// The numbers of finished requests and of lost events.
fn reported(events: &[Value]) -> (u64, u64) {
    // Launches have a result, too.
    let is_request = |event: &&Value| event.get("result").is_some() && event["kind"] != "launched";
    let ended = events.iter().filter(is_request).count();
    let lost = events.iter().filter(|event| event["kind"] == "lost");
    (ended as u64, lost.filter_map(|event| event["count"].as_u64()).sum())
}

fn exact(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let follower = follow_all()?;
    let before = Firmware::read()?;
    // The state when it began to follow.
    let start = reported(&follower.events()?);
    load::run("--vms 4 --processes --count 100 --type report,key,export")?;
    load::run("--count 20 --fault gap:3")?;
    let firmware = Firmware::read()?.since(&before).guest_requests;
    follower.wait_until("every request was reported", |events| {
        reported(events).0 - start.0 >= firmware
    })?;
    let (ended, lost) = reported(&follower.events()?);
    ensure!(
        (ended - start.0, lost) == (firmware, 0),
        "{ended} of {firmware} reported, {lost} lost"
    );
    println!("{firmware} requests, {firmware} reported");

    let start = reported(&follower.events()?);
    let before = Firmware::read()?;
    asleep(&agent, FLOOD)?;
    let firmware = Firmware::read()?.since(&before).guest_requests;
    let all = |events: &[Value]| reported(events).0 + reported(events).1 - start.0 - start.1;
    follower
        .wait_until("each was reported or counted as lost", |events| all(events) >= firmware)?;
    let events = follower.events()?;
    let (ended, lost) = reported(&events);
    ensure!(all(&events) == firmware && lost > 0, "{firmware}: {ended} reported, {lost} lost");
    println!("{firmware} requests, {} reported, {lost} lost", ended - start.0);
    let reasons: Vec<_> = events.iter().filter_map(|event| event.get("reason")).collect();
    println!("{reasons:?}");

    // SIGKILL: it cannot unsubscribe.
    drop(follower);
    sleep(Duration::from_secs(1));
    ensure_quiet(&agent)?;

    // A killed agent cannot switch it off.
    let follower = follow_all()?;
    agent.kill()?;
    drop(follower);
    let agent = Agent::start(&[])?;
    ensure_quiet(&agent)?;
    Ok(Status::Passed)
}

/// Runs a load while the agent is stopped.
fn asleep(agent: &Agent, load: &str) -> Result<()> {
    signal(agent.pid(), libc::SIGSTOP)?;
    let load = load::run(load);
    signal(agent.pid(), libc::SIGCONT)?;
    load.map(drop)
}

/// Without a follower requests do not fill the ring buffer.
fn ensure_quiet(agent: &Agent) -> Result<()> {
    let before = losses(&agent.scrape()?);
    asleep(agent, FLOOD)?;
    let after = losses(&agent.scrape()?);
    ensure!(before == after, "requests are still reported: lost {before:?}, then {after:?}");
    Ok(())
}

fn cost(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let _on = Statistics::on()?;
    measure(&agent)
}

/// The largest permitted ratio of the costs with and without --all.
const MOST: f64 = 2.0;

/// In turn, as an emulator gets faster at what it repeats; the minimum excludes disturbances.
fn measure(agent: &Agent) -> Result<Status> {
    let (mut off, mut on) = (f64::INFINITY, f64::INFINITY);
    for round in 0..20 {
        // With other emulators running it may take more rounds until one is not disturbed.
        if round >= 5 && on < MOST * off {
            break;
        }
        off = of_a_request(agent)?.min(off);
        let follower = follow_all()?;
        on = of_a_request(agent)?.min(on);
        drop(follower);
        sleep(Duration::from_millis(500));
    }
    println!("BPF time of a request: {off:.0} ns; with --all {on:.0} ns: {:.2}x", on / off);
    // An emulator's times only catch gross errors.
    ensure!(on < MOST * off, "--all costs {:.2}x", on / off);
    Ok(Status::Passed)
}

/// The mean time of the programs on a request's path, in ns. The agent is stopped meanwhile, with
/// room for all in the ring buffer: its work on the emulator's other CPU would count as the
/// programs'.
fn of_a_request(agent: &Agent) -> Result<f64> {
    let before = agent.scrape()?;
    asleep(agent, "--vms 2 --processes --count 400")?;
    let after = agent.scrape()?;
    let mean = |(program, _): &(&str, _)| {
        let grown = |name| {
            let labels = [("program", *program)];
            after.sum(name, &labels) - before.sum(name, &labels)
        };
        let runs = grown("guestreq_program_runs_total").max(1.0);
        grown("guestreq_program_run_seconds_total") * 1e9 / runs
    };
    Ok(ON_THE_WAY.iter().map(mean).sum())
}
