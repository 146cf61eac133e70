//! # Takeover by another version

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{super::losses, Host, PINS, Random, die_at, points, start};
use crate::{
    agent::{self, Agent},
    bpf,
    load::{self, Load},
    scenario::{Context, Status, scenario},
};

scenario!(OTHER_PROGRAMS: "takeover/other_programs" = other_programs,
    "another version's programs take over under load, and no count is lost");
scenario!(night OTHER_ENTRIES: "takeover/other_entries" = other_entries,
    "another version's entry programs are replaced, and nothing disallowed passes meanwhile");
scenario!(night OTHER_SCHEMA: "takeover/other_schema" = other_schema,
    "pins of another schema enforce until this version does, and counters start at zero");

/// Of a version whose programs differ, but not what they are attached by.
pub const PROGRAMS: &[&str] = &["--object", "/lib/other-programs"];
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
    load.stop()?;
    Ok(())
}

/// Tags of our loaded programs by name.
fn tags() -> Result<BTreeMap<String, BTreeSet<[u8; 8]>>> {
    const HOOKS: [&str; 4] = ["command_start", "command_end", "file_ioctl", "guest_request"];
    let mut programs = bpf::programs()?;
    // The kernel cuts names after 15 characters.
    programs.retain(|name, _| HOOKS.iter().any(|hook| name.ends_with(&hook[..hook.len().min(12)])));
    ensure!(!programs.is_empty(), "no programs are loaded");
    Ok(programs)
}

fn other_programs(_: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    let load = some_load()?;
    let ours = tags()?;
    for (round, other) in [PROGRAMS, &[], PROGRAMS].into_iter().enumerate() {
        agent.kill()?;
        agent = start(other)?;
        let log = agent::log();
        ensure!(!log.contains("] attached "), "round {round}: something was attached: {log}");
        host.firmware()?;
    }
    sleep(Duration::from_secs(1));
    let theirs = tags()?;
    for (name, tag) in &ours {
        // The old programs may take a while to unload.
        let same = theirs.get(name).is_some_and(|theirs| theirs.is_subset(tag));
        ensure!(same == name.starts_with("on_"), "{name}: {tag:x?} and {:x?}", theirs.get(name));
    }
    finish(load)?;
    let answered = host.exact(&agent)?;
    println!("{answered} passed, {} denied", host.gate()?.denied);
    host.end(agent)?;
    Ok(Status::Passed)
}

fn other_entries(context: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    let load = some_load()?;
    // Only the program that answers the gate matters here.
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
        let log = agent::log();
        ensure!(log.contains("another version's program"), "nothing was replaced: {log}");
        other = if other.is_empty() { ENTRIES } else { &[] };
    }
    finish(load)?;
    let firmware = host.firmware()?.guest_requests;
    let counted = agent.scrape()?.sum("guestreq_messages_total", &[("result", "ok")]) as u64;
    // Between an old entry and a new one, for as long as the kernel's grace periods take.
    let missed = firmware.checked_sub(counted).context("counted twice")?;
    ensure!(missed <= firmware / 10, "{counted} of {firmware} counted");
    let bypassed = agent.scrape()?.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} requests are reported as bypassed");
    println!("{missed} of {firmware} missed in {} replacements", at.len());
    counts_new_requests(&agent)?;
    host.end(agent)?;
    Ok(Status::Passed)
}

/// New requests are counted exactly.
pub fn counts_new_requests(agent: &Agent) -> Result<()> {
    let count = || -> Result<f64> { Ok(agent.scrape()?.sum("guestreq_messages_total", &[])) };
    let before = count()?;
    load::run("--vmm qemu --name later --type report,export --count 20")?;
    let counted = count()? - before;
    ensure!(counted == 20.0, "{counted} of 20 counted");
    Ok(())
}

fn other_schema(context: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    let load = some_load()?;
    // What the firmware answered before the programs that count now were attached.
    let mut uncounted = 0;
    let mut points =
        vec!["maps", "policies", "pinned:on_file_ioctl", "all_attached", "old_dropped"];
    if !context.long {
        // Two, a random one first: what is carried over, or not, shows at the second.
        let first = Random::new()?.below(4) as usize;
        points = vec![points[first], points[first + 1]];
    }
    for point in points {
        agent.kill()?;
        let before = host.firmware()?.guest_requests;
        ensure!(before > uncounted, "nothing was counted that could be carried over");
        // The first word of the host's record.
        bpf::write_first_word(&format!("{PINS}/maps/HOST"), 99)?;
        die_at(point, &[])?;
        let log = agent::log();
        ensure!(log.contains("(its maps are of schema 99"), "{log}");
        ensure!(log.contains("counters start at zero"), "{log}");
        host.firmware().with_context(|| format!("after {point}"))?;
        agent = start(&[])?;
        ensure!(!agent::log().contains("schema"), "reported twice: {}", agent::log());
        host.firmware().with_context(|| format!("after {point}, in the next agent"))?;
        let left = set_aside()?;
        ensure!(left.is_empty(), "after {point} there are {left:?}");
        sleep(Duration::from_secs(1));
        uncounted = load.while_stopped(|| not_counted(&host, &agent)).context(point)?;
        ensure!(uncounted >= before, "after {point} counters did not start at zero");
    }
    finish(load)?;
    counts_new_requests(&agent)?;
    let since = not_counted(&host, &agent)?;
    ensure!(since == uncounted, "{uncounted} were not counted at first, then {since}");
    let answered = host.firmware()?.guest_requests;
    println!("{answered} passed, {} denied", host.gate()?.denied);
    host.end(agent)?;
    Ok(Status::Passed)
}

/// How many of the requests that the firmware answered are not counted; none was lost, and none
/// reached it undecided.
fn not_counted(host: &Host, agent: &Agent) -> Result<u64> {
    let metrics = agent.scrape()?;
    // First, as losses would explain the rest.
    let lost = losses(&metrics);
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} requests are said to have passed undecided");
    let counted = metrics.sum("guestreq_psp_commands_total", &[("command", "snp_guest_request")]);
    ensure!(counted > 0.0, "nothing is counted");
    let answered = host.firmware()?.guest_requests;
    answered.checked_sub(counted as u64).context("counted twice")
}

/// Pins of other schemas that were set aside.
pub fn set_aside() -> Result<Vec<String>> {
    let entries = fs::read_dir("/sys/fs/bpf").context("/sys/fs/bpf")?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.starts_with("guestreq-old")).collect())
}
