//! # Another version takes over, or finds what it does not know

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{Host, PINS, die_at, losses, points, start};
use crate::{
    agent::{self, Agent},
    bpf,
    load::{self, Load},
    scenario::{Context, Outcome, Scenario},
};

pub const OTHER_PROGRAMS: Scenario = Scenario {
    name: "another_version_s_programs_take_over_under_load_and_no_count_is_lost",
    check: other_programs,
};
pub const OTHER_ENTRIES: Scenario = Scenario {
    name: "another_version_s_entries_are_replaced_and_nothing_disallowed_passes_meanwhile",
    check: other_entries,
};
pub const OTHER_SCHEMA: Scenario = Scenario {
    name: "pins_of_another_schema_enforce_until_this_version_does_and_totals_go_on",
    check: other_schema,
};

const PROGRAMS: &[&str] = &["--object", "/lib/other-programs"];
const ENTRIES: &[&str] = &["--object", "/lib/other-entries"];

fn some_load() -> Result<Load> {
    let load = load::start(
        "--vms 2 --processes --vmm qemu --name busy --type report,export,key --seconds 36000 \
         --rate 150",
    )?;
    sleep(Duration::from_secs(1));
    Ok(load)
}

fn finish(load: Load) -> Result<()> {
    agent::signal(load.pid(), libc::SIGTERM)?;
    load.finish()?;
    Ok(())
}

/// Tags of our programs that are loaded now, by name.
fn tags() -> Result<BTreeMap<String, BTreeSet<u64>>> {
    const HOOKS: [&str; 4] = ["command_start", "command_end", "file_ioctl", "guest_request"];
    let mut programs = bpf::programs()?;
    // The kernel cuts names after 15 characters.
    programs.retain(|name, _| HOOKS.iter().any(|hook| name.ends_with(&hook[..hook.len().min(12)])));
    ensure!(!programs.is_empty(), "no programs are loaded");
    Ok(programs)
}

fn other_programs(_: &Context) -> Result<Outcome> {
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    let load = some_load()?;
    let ours = tags()?;
    for (round, other) in [PROGRAMS, &[], PROGRAMS].into_iter().enumerate() {
        agent.kill()?;
        agent = start(other)?;
        let said = agent::log();
        ensure!(!said.contains("] attached "), "round {round}: it attached something: {said}");
        host.firmware()?;
    }
    sleep(Duration::from_secs(1));
    let theirs = tags()?;
    for (name, tag) in &ours {
        // An object that is gone may take a while to go.
        let same = theirs.get(name).is_some_and(|theirs| theirs.is_subset(tag));
        ensure!(same == name.starts_with("on_"), "{name}: {tag:x?} and {:x?}", theirs.get(name));
    }
    finish(load)?;
    let answered = host.exact(&agent)?;
    println!("{answered} passed, {} denied", host.gate()?.denied);
    host.end(agent)?;
    Ok(Outcome::Kept)
}

fn other_entries(context: &Context) -> Result<Outcome> {
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    let load = some_load()?;
    // Where the gate's answer is at stake; the others differ in nothing that this is about.
    let mut at = points(&["attach"])?;
    at.retain(|point| {
        !point.ends_with("vmgexit_enter") && (context.long || point.ends_with("on_file_ioctl"))
    });
    let mut other = ENTRIES;
    for point in &at {
        agent.kill()?;
        die_at(point, other)?;
        host.firmware().with_context(|| format!("after {point}"))?;
        agent = start(other)?;
        host.firmware().with_context(|| format!("after {point}, in the next agent"))?;
        let said = agent::log();
        ensure!(said.contains("another version's program"), "nothing was replaced: {said}");
        other = if other.is_empty() { ENTRIES } else { &[] };
    }
    finish(load)?;
    let firmware = host.firmware()?.guest_requests;
    let counted = agent.scrape()?.sum("guestreq_messages_total", &[("result", "ok")]) as u64;
    // Between an old entry and a new one; how long that is, the kernel's grace periods say.
    let missed = firmware.checked_sub(counted).context("counted twice")?;
    ensure!(missed <= firmware / 10, "{counted} of {firmware} counted");
    let bypassed = agent.scrape()?.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} requests are said to have passed undecided");
    println!("{missed} of {firmware} missed in {} replacements", at.len());
    counts_on(&agent)?;
    host.end(agent)?;
    Ok(Outcome::Kept)
}

/// What comes now is counted to the last one.
pub fn counts_on(agent: &Agent) -> Result<()> {
    let count = || -> Result<f64> { Ok(agent.scrape()?.sum("guestreq_messages_total", &[])) };
    let before = count()?;
    load::run("--vmm qemu --name later --type report,export --count 20")?;
    let counted = count()? - before;
    ensure!(counted == 20.0, "{counted} of 20 counted");
    Ok(())
}

fn other_schema(_: &Context) -> Result<Outcome> {
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    let load = some_load()?;
    let points =
        ["maps", "policies", "pinned:on_file_ioctl", "all_attached", "inherited", "old_dropped"];
    let mut shown = 0.0;
    for point in points {
        agent.kill()?;
        // The first word of the host's record.
        bpf::write_first_word(&format!("{PINS}/maps/HOST"), 99)?;
        die_at(point, &[])?;
        let said = agent::log();
        ensure!(said.contains("(its maps are of schema 99"), "{said}");
        host.firmware().with_context(|| format!("after {point}"))?;
        agent = start(&[])?;
        ensure!(!agent::log().contains("schema"), "told twice: {}", agent::log());
        host.firmware().with_context(|| format!("after {point}, in the next agent"))?;
        let left = aside()?;
        ensure!(left.is_empty(), "after {point} there are {left:?}");
        let before = shown;
        shown = agent.scrape()?.sum("guestreq_messages_total", &[]);
        ensure!(shown > before, "after {point} the totals fell from {before} to {shown}");
        load.while_stopped(|| totals_are_the_firmware_s(&host, &agent))
            .with_context(|| format!("after {point}"))?;
    }
    finish(load)?;
    counts_on(&agent)?;
    totals_are_the_firmware_s(&host, &agent)?;
    let answered = host.firmware()?.guest_requests;
    println!("{answered} passed, {} denied", host.gate()?.denied);
    host.end(agent)?;
    Ok(Outcome::Kept)
}

fn totals_are_the_firmware_s(host: &Host, agent: &Agent) -> Result<()> {
    let metrics = agent.scrape()?;
    // First, as it would explain the rest.
    let lost = losses(&metrics);
    ensure!(lost.is_empty(), "lost: {lost:?}");
    host.totals(&metrics, "guestreq_messages_total")?;
    let commands = metrics.sum("guestreq_psp_commands_total", &[("command", "snp_guest_request")]);
    let answered = host.firmware()?.guest_requests;
    ensure!(commands as u64 == answered, "{commands} commands, the firmware {answered}");
    Ok(())
}

/// What stands beside our pins, and was put aside.
pub fn aside() -> Result<Vec<String>> {
    let entries = fs::read_dir("/sys/fs/bpf").context("/sys/fs/bpf")?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with("guestreq-old")).collect())
}
