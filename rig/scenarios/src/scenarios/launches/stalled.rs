//! # A launch that makes no progress

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{records, wait_for_ended};
use crate::{
    agent::{self, Agent},
    host::{Firmware, wait_until},
    load::{self, Cue},
    scenario::{Context, Status, scenario},
    scenarios::launch_load,
};

scenario!(long STALLED: "launches/stalled" = stalled,
    "a launch without a command for a minute is stalled until its VMM continues");

fn stalled(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let cue = Cue::new("stalled");
    let waiting = format!("--vmm qemu --name slow --pages 8 --launch-cue {}", cue.path());
    let load = load::start(&waiting)?;
    launch_load::wait_for_pages(&before, 4)?;
    agent.wait_until("the launch runs", |metrics| {
        metrics.sum("guestreq_launches", &[("state", "running")]) == 1.0
    })?;
    wait_until("the launch is stalled", Duration::from_secs(120), || {
        Ok(agent.scrape()?.sum("guestreq_launches", &[("state", "stalled")]) == 1.0)
    })?;
    let running = agent.scrape()?.sum("guestreq_launches", &[("state", "running")]);
    ensure!(running == 0.0, "it is also counted as running");
    let all = records::all()?;
    ensure!(all.len() == 1 && all[0].state == "stalled" && all[0].pages == 4, "{all:?}");
    ensure!(all[0].name.as_deref() == Some("slow"), "{all:?}");
    // The record ends with its latest command; a running launch's duration includes the time since.
    let idle = all[0].duration_ns - all[0].stage_ns.iter().sum::<u64>();
    ensure!(idle >= 60_000_000_000, "it is stalled after {idle} ns without a command");
    let table = agent::cli(&["launches"])?;
    ensure!(table.lines().any(|line| line.contains("slow") && line.contains("stalled")), "{table}");
    cue.give()?;
    load.finish()?;
    let metrics = wait_for_ended(&mut agent, Some("finished"), 1)?;
    ensure!(metrics.is_zero("guestreq_launches", &[]), "it is still counted as running");
    let finished = records::finished()?;
    let launch = launch_load::only(&before)?.context("the firmware saw no launch")?;
    ensure!(finished.len() == 1, "{finished:?}");
    finished[0].is_exactly(&launch)?;
    ensure!(finished[0].vmm_ns() >= idle, "the stall is not the VMM's: {finished:?}");
    Ok(Status::Passed)
}
