//! # Launches
//!
//! The agent's record of each launch, compared with the fake firmware's and with the VMM's clock.

mod edge_cases;
pub mod exact;
pub mod records;
mod restart;
mod stalled;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use guestreq_common::command::{self, SNP_LAUNCH_UPDATE};
use serde_json::Value;

use super::module_reload;
use crate::{
    agent::{self, Agent},
    exposition::Metrics,
    host::Firmware,
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(TOTALS: "launches/totals" = totals,
    "metrics of launches, failed or not, add up to their records and to the firmware's");
scenario!(FAILED: "launches/failed" = failed,
    "a launch that does not finish is reported with what ended it");
scenario!(NAMES: "launches/names" = names,
    "a launch, failed or not, has its VM's name and those of the VMs that it waited for");

pub const GROUP: Group = Group {
    name: "launches",
    memory_mib: 3072,
    scenarios: &[
        exact::EXACT,
        exact::CONCURRENT,
        TOTALS,
        FAILED,
        edge_cases::PAGES,
        edge_cases::VANISHED,
        restart::RESTART,
        module_reload::RELOADED,
    ],
    once: &[NAMES, edge_cases::CHURN, stalled::STALLED],
    ..Group::DEFAULT
};

/// Of each VM: KVM refuses the first before there is a guest context, the PSP the second, and
/// nobody finishes the third.
const FAILED_LAUNCHES: &str = "--failed-launches 3";

fn totals(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    // So that launches wait for each other.
    Firmware::set("other_us", 2000)?;
    let mut loads = Vec::new();
    for name in ["a", "b", "c"] {
        let arguments = format!("--vms 5 --processes --name {name} {FAILED_LAUNCHES}");
        loads.push(load::start(&arguments)?);
    }
    for load in loads {
        load.finish()?;
    }
    let metrics = agent.wait_until("15 launches ended in each way", |metrics| {
        let ended = |result| metrics.sum("guestreq_launches_total", &[("result", result)]);
        ["finished", "failed", "abandoned"].map(ended) == [15.0; 3]
    })?;
    Firmware::reset()?;
    let after = Firmware::read()?;
    let firmware = after.since(&before);
    let all = self::all()?;
    ensure!(all.len() == 45, "{} launches are known", all.len());
    let sum = |field: &str| all.iter().filter_map(|launch| launch[field].as_u64()).sum::<u64>();
    let of_launches = || firmware.commands.iter().filter(|(number, _)| command::launches(**number));
    let commands: u64 = of_launches().map(|(_, (count, _))| count).sum();
    let mut known: Vec<_> =
        all.iter().map(|it| (it["commands"].as_u64(), it["pages"].as_u64())).collect();
    let by_firmware = after.launches_since(&before)?;
    let mut expected: Vec<_> =
        by_firmware.iter().map(|launch| (Some(launch.commands), Some(launch.pages))).collect();
    known.sort_unstable();
    expected.sort_unstable();
    ensure!(known == expected, "launches have other commands and pages: {all:?}, {by_firmware:?}");
    let pages = firmware.count(SNP_LAUNCH_UPDATE);
    ensure!(sum("commands") == commands, "{} commands of {commands}", sum("commands"));
    ensure!(pages > 0 && sum("pages") == pages, "{} pages of {pages}", sum("pages"));
    let mut stages = BTreeMap::new();
    for launch in &all {
        let seconds = launch["seconds"].as_f64().context("seconds")?;
        let of = launch["stage_seconds"].as_object().context("stages")?;
        let parts: f64 = of.values().filter_map(Value::as_f64).sum();
        ensure!((parts - seconds).abs() < 1e-6, "{parts} s in the stages of {launch}");
        for (stage, seconds) in of {
            *stages.entry(stage.clone()).or_insert(0.0) += seconds.as_f64().context("a stage")?;
        }
    }
    for (stage, seconds) in &stages {
        let total = metrics.sum("guestreq_launch_stage_seconds_total", &[("stage", stage)]);
        ensure!((total - seconds).abs() < 1e-3, "{stage}: {total} s, of launches {seconds} s");
    }
    let slept = of_launches().filter_map(|(command, _)| firmware.slept.get(command)).sum::<u64>();
    let (slept, service) = (slept as f64 / 1e9, stages["psp_service"]);
    ensure!(service >= slept, "the PSP slept for {slept} s in {service} s");
    ensure!(stages["psp_queue"] > 0.0, "no launch waited: {stages:?}");
    let finished = metrics.sum("guestreq_launch_duration_seconds_count", &[]);
    ensure!(finished == 15.0, "{finished} durations");
    let running = metrics.sum("guestreq_launches", &[]);
    ensure!(running == 0.0, "{running} launches still run");
    println!("totals: 45 launches, {commands} commands, {pages} pages, {stages:.3?}");
    Ok(Status::Passed)
}

/// Waits until this many launches have ended: with this result, or with any.
fn wait_for_ended(agent: &mut Agent, result: Option<&str>, number: u64) -> Result<Metrics> {
    let labels: Vec<_> = result.map(|result| ("result", result)).into_iter().collect();
    agent.wait_until("the launches have ended", |metrics| {
        metrics.sum("guestreq_launches_total", &labels) == number as f64
    })
}

fn failed(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    load::run(FAILED_LAUNCHES)?;
    wait_for_ended(&mut agent, None, 3)?;
    // One whose VMM is killed meanwhile.
    Firmware::set("other_us", 300_000)?;
    let killed = load::start("--name killed")?;
    agent.wait_until("a launch runs", |metrics| metrics.sum("guestreq_launches", &[]) == 1.0)?;
    drop(killed);
    wait_for_ended(&mut agent, Some("process_exited"), 1)?;
    Firmware::reset()?;
    let mut results = BTreeMap::new();
    for event in events()? {
        let result = event["result"].as_str().context("a result")?.to_owned();
        results.insert(result, event);
    }
    ensure!(results.len() == 4, "{results:?}");
    let failure = |result: &str| {
        let event = &results[result];
        (event["failed_command"].as_str(), event["failed_result"].as_str())
    };
    ensure!(failure("failed") == (Some("snp_launch_start"), Some("policy_failure")), "{results:?}");
    for result in ["finished", "abandoned", "process_exited"] {
        ensure!(failure(result) == (None, None), "{result}: {results:?}");
    }
    ensure!(agent::log().contains("launched: VM"), "the log names no launch");
    Ok(Status::Passed)
}

fn names(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let greedy = load::start("--vmm qemu --name greedy --vcpus 2 --seconds 600")?;
    agent.wait_until("greedy sends requests", |metrics| {
        metrics.sum("guestreq_requests_total", &[("vm", "greedy")]) > 0.0
    })?;
    // So long that the agent sees each launch on a busy machine, too: it looks once a second.
    Firmware::set("other_us", 600_000)?;
    Firmware::set("latency_us", 20_000)?;
    let web = load::start(&format!("--vmm qemu --name web {FAILED_LAUNCHES} --hold"))?;
    agent.wait_until("web has launched", |metrics| {
        metrics.sum("guestreq_launches_total", &[("result", "finished")]) == 2.0
            && metrics.sum("guestreq_requests_total", &[("vm", "web")]) > 0.0
    })?;
    let all = self::all()?;
    let of_web: Vec<_> = all.iter().filter(|launch| launch["name"] == "web").collect();
    ensure!(of_web.len() == 3, "not all launches of web have its name: {all:?}");
    for launch in &of_web {
        let others = launch["psp_used_by"].as_array().context("no others")?;
        ensure!(others.iter().any(|other| other["vm"] == "greedy"), "{launch}");
    }
    let table = agent::cli(&["launches"])?;
    ensure!(table.contains("snp_launch_start: policy_failure"), "{table}");
    Firmware::reset()?;
    greedy.stop()?;
    web.finish()?;
    Ok(Status::Passed)
}

/// All launches that the agent knows.
fn all() -> Result<Vec<Value>> {
    let text = agent::cli(&["launches", "--all", "-o", "json"])?;
    let answer: Value = serde_json::from_str(&text).context("guestreq launches")?;
    Ok(answer["launches"].as_array().context("no launches")?.clone())
}

/// Events `launched`.
fn events() -> Result<Vec<Value>> {
    let text = agent::cli(&["events", "--no-follow", "-o", "json", "--kind", "launched"])?;
    let events: serde_json::Result<Vec<Value>> = text.lines().map(serde_json::from_str).collect();
    let events = events.context("guestreq events")?;
    Ok(events.into_iter().filter(|event| event["kind"] == "launched").collect())
}
