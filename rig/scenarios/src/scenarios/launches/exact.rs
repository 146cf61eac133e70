//! # Concurrent launches, each compared

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    records::{self, Deviation},
    wait_for_ended,
};
use crate::{
    agent::Agent,
    host::{Firmware, wait_until},
    load::{self, Cue, LaunchReport},
    scenario::{Context, Status, scenario},
};

scenario!(long EXACT: "launches/exact" = exact,
    "each launch has the firmware's commands, pages and PSP time and the VMM's duration");
scenario!(long CONCURRENT: "launches/concurrent" = concurrent,
    "each of many concurrent launches has the firmware's commands and pages");

/// Clocks of agent, firmware and VMM differ by a command's way through the kernel, which takes up to
/// a few milliseconds in an emulator that shares its processors: little of these.
const COMMAND_US: u64 = 250_000;
/// Names, pages, and VMs. Different numbers of pages, so that a mixed-up pair shows, and enough of
/// them: the fake firmware is up to 5 ms late for the first command after a pause.
const LOADS: [(&str, u64, u64); 4] =
    [("small", 6, 2), ("medium", 8, 2), ("large", 10, 2), ("huge", 12, 2)];
const TOLERANCE: f64 = 0.01;
/// Of a launch while other guests of the rig use the processors.
const DISTURBED: f64 = 0.1;

/// Of concurrent launches.
pub fn deviation() -> Result<Deviation> {
    let before = Firmware::read()?;
    let known = records::finished()?.len();
    Firmware::set("page_us", COMMAND_US)?;
    Firmware::set("other_us", COMMAND_US)?;
    let start = |(name, pages, vms)| {
        load::start(&format!("--vmm qemu --name {name} --vms {vms} --pages {pages} --count 0"))
    };
    let loads = LOADS.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut reports: Vec<LaunchReport> = Vec::new();
    for load in loads {
        reports.extend(load.finish()?.launches);
    }
    Firmware::reset()?;
    let launches = Firmware::read()?.launches_since(&before)?;
    wait_until("the agent has read all launches", Duration::from_secs(60), || {
        Ok(records::finished()?.len() == known + launches.len())
    })?;
    records::compare(&records::finished()?[known..], &launches, &reports)
}

fn exact(_: &Context) -> Result<Status> {
    let _agent = Agent::start(&[])?;
    let found = deviation()?;
    println!("exact: {found:?}");
    let vms: u64 = LOADS.iter().map(|(.., vms)| vms).sum();
    ensure!(found.launches as u64 == vms, "{found:?}");
    ensure!(found.least_service < TOLERANCE, "the PSP's time differs: {found:?}");
    ensure!(found.service < DISTURBED, "the PSP's time differs: {found:?}");
    ensure!(found.duration < TOLERANCE, "durations differ by {}", found.duration);
    Ok(Status::Passed)
}

const PAGES: u64 = 4;

fn concurrent(_: &Context) -> Result<Status> {
    // The emulator starts three VMMs a second.
    let vms = 200;
    let limit = Duration::from_secs(300);
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let cue = Cue::new("concurrent");
    let load = load::start(&format!(
        "--vmm qemu --name vm --vms {vms} --pages {PAGES} --launch-cue {} --count 0",
        cue.path()
    ))?;
    wait_until("all launches have half of their pages", limit, || {
        let launches = Firmware::read()?.launches_since(&before)?;
        let half = launches.iter().filter(|launch| launch.pages == PAGES / 2).count();
        Ok(half == vms)
    })?;
    let waiting = Instant::now();
    // The first may have stalled meanwhile.
    agent.wait_until("all launches run", |metrics| {
        metrics.sum("guestreq_launches", &[]) == vms as f64
    })?;
    let running = records::all()?;
    let half = running.iter().filter(|it| it.runs() && it.pages == PAGES / 2).count();
    ensure!(half == vms, "the agent knows {half} launches with half of their pages");
    let waited = waiting.elapsed().as_nanos() as u64;
    cue.give()?;
    let reports = load.finish()?.launches;
    let metrics = wait_for_ended(&mut agent, Some("finished"), vms as u64)?;
    let (finished, launches) = (records::finished()?, Firmware::read()?.launches_since(&before)?);
    let found = records::compare(&finished, &launches, &reports)?;
    println!("concurrent: {found:?}, {:.1} s of {vms}", waited as f64 / 1e9);
    let hasty = finished.iter().filter(|it| it.vmm_ns() < waited).count();
    ensure!(hasty == 0, "{hasty} VMMs took less than the {waited} ns that all waited");
    ensure!(found.duration < DISTURBED, "durations differ by {}", found.duration);
    ensure!(metrics.is_zero("guestreq_launches", &[]), "launches still run");
    Ok(Status::Passed)
}
