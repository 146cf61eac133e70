//! # Full tables

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{AttackedHost, answered, passed, wait_until_sent};
use crate::{
    host::{Firmware, wait_until},
    load::{self, Load},
    scenario::{Context, Status, scenario},
};

scenario!(PARKED: "attack/shared_vm" = parked,
    "a VM that 80 processes share takes no other VM's table entries");
scenario!(night THOUSAND: "attack/thousand_processes" = thousand,
    "a thousand processes that share a VM's memory are one VM");
scenario!(night CHURN: "attack/churn" = churn,
    "short-lived VMs and failed launches leave room, and every other VM keeps its rule");
scenario!(night CONTEXTS_FULL: "attack/contexts_full" = contexts_full,
    "a VM with a stricter rule keeps it while others fill the VM table");
scenario!(night THREADS_FULL: "attack/threads_full" = threads_full,
    "a request decided without a thread record is not reported as bypassed");
scenario!(night EVICTED: "attack/evicted" = evicted,
    "a VM that was silent while others filled the VM table keeps its policy");
scenario!(night FLOOD: "attack/failed_launches" = flood,
    "endless failed launches cost no new VM its rule");

/// The strict VM sends what all others may.
const STRICT: &str =
    "keep_exited_vms = \"1d\"\n[[vm]]\nmatch = { name = \"strict\" }\nallow = [\"key\"]\n";

/// A strict VM that keeps sending; returns once it is known.
fn strict(attacked: &mut AttackedHost) -> Result<Load> {
    let load = load::start("--vmm qemu --name strict --type report --seconds 3600 --rate 20")?;
    attacked.agent.wait_until("the strict VM is known", |metrics| {
        metrics.sum("guestreq_vm_info", &[("vm", "strict")]) > 0.0
    })?;
    Ok(load)
}

fn parked(_: &Context) -> Result<Status> {
    let attacked = AttackedHost::start(&format!("max_vms = 64\n{STRICT}"))?;
    let before = Firmware::read()?;
    let many = load::start("--vmm qemu --name many --attack parked --count 80 --hold")?;
    wait_until_sent(&before, 80)?;
    let seen = load::run("--vmm qemu --name strict --type report --count 5")?;
    ensure!(passed(&seen) == 0, "{} of 5 reports passed: {:?}", passed(&seen), seen.outcomes);
    attacked.is_exact()?;
    many.finish()?;
    attacked.is_exact()?;
    attacked.end()
}

fn thousand(_: &Context) -> Result<Status> {
    const PROCESSES: u64 = 1000;
    let attacked = AttackedHost::start(&format!("max_vms = 4\n{STRICT}"))?;
    let before = Firmware::read()?;
    let load = format!("--vmm qemu --name many --attack parked --count {PROCESSES} --hold");
    let many = load::start(&load)?;
    wait_until_sent(&before, PROCESSES)?;
    let seen = load::run("--vmm qemu --name strict --type report --count 5")?;
    ensure!(passed(&seen) == 0, "{} of 5 reports passed: {:?}", passed(&seen), seen.outcomes);
    many.finish()?;
    // Thread records belong to no VM: missing ones cost waiting times and are counted.
    let metrics = attacked.agent.scrape()?;
    let counted = answered(&metrics);
    ensure!(counted.get("many") == Some(&PROCESSES), "{counted:?}");
    ensure!(counted.len() == 2, "{counted:?}");
    let lost = metrics.sum("guestreq_events_lost_total", &[("reason", "vm_table_full")]);
    ensure!(lost == 0.0, "{lost} times there was no room for a VM");
    ensure!(attacked.reached()? == PROCESSES, "{}", attacked.reached()?);
    attacked.nothing_bypassed()?;
    attacked.end()
}

/// Two processes launch 36 guests each that fail and 12 that do not, with room for 16.
fn churn(_: &Context) -> Result<Status> {
    let mut attacked = AttackedHost::start(&format!("max_vms = 16\n{STRICT}"))?;
    let before = strict(&mut attacked)?;
    let seen = load::run(
        "--vmm qemu --vms 2 --name churn --relaunch 11 --failed-launches 3 --type report,export \
         --count 2",
    )?;
    ensure!(passed(&seen) == 24, "{:?}", seen.outcomes);
    // One strict VM from before the churn, and one from after it.
    let after = load::start("--vmm qemu --name strict --type report --count 5")?.finish()?;
    for seen in [before.stop()?, after] {
        ensure!(passed(&seen) == 0, "{} reports passed: {:?}", passed(&seen), seen.outcomes);
        ensure!(seen.requests > 0, "the strict VM sent nothing");
    }
    ensure!(attacked.reached()? == 24, "{}", attacked.reached()?);
    attacked.nothing_bypassed()?;
    attacked.end()
}

/// Twelve guests with room for eight.
fn contexts_full(_: &Context) -> Result<Status> {
    let mut attacked = AttackedHost::start(&format!("max_vms = 8\n{STRICT}"))?;
    let strict = strict(&mut attacked)?;
    let before = Firmware::read()?;
    let many =
        load::start("--vmm qemu --name many --contexts 12 --type report,export --count 6 --hold")?;
    wait_until_sent(&before, 36)?;
    let seen = strict.stop()?;
    ensure!(passed(&seen) == 0, "{} reports passed: {:?}", passed(&seen), seen.outcomes);
    ensure!(seen.requests > 0, "the strict VM sent nothing");
    let seen = many.finish()?;
    ensure!(passed(&seen) == 36, "{:?}", seen.outcomes);
    let metrics = attacked.agent.scrape()?;
    let full = metrics.sum("guestreq_events_lost_total", &[("reason", "vm_table_full")]);
    ensure!(full > 0.0, "the full table is not reported");
    ensure!(attacked.reached()? == 36, "{}", attacked.reached()?);
    attacked.nothing_bypassed()?;
    attacked.end()
}

/// Other threads take all records. Two VMs are admitted by the gate and wait for the PSP; meanwhile
/// the others exit, so there is room when the PSP takes the second request.
fn threads_full(_: &Context) -> Result<Status> {
    const PROCESSES: u64 = 300;
    let attacked = AttackedHost::start("max_vms = 4\n")?;
    let before = Firmware::read()?;
    let many =
        load::start(&format!("--vmm qemu --name many --attack parked --count {PROCESSES} --hold"))?;
    wait_until_sent(&before, PROCESSES)?;
    Firmware::set("latency_us", 12_000_000)?;
    let normal = load::start("--vmm qemu --vms 2 --name web --type report --count 1")?;
    wait_until("both were admitted", Duration::from_secs(30), || {
        Ok(attacked.host.gate()?.admitted == PROCESSES + 2)
    })?;
    let threads = || -> Result<f64> {
        Ok(attacked.agent.scrape()?.sum("guestreq_map_entries", &[("map", "threads")]))
    };
    let full = threads()?;
    for process in many.processes()? {
        crate::agent::signal(process, libc::SIGKILL)?;
    }
    wait_until("their records are free", Duration::from_secs(10), || Ok(threads()? < full / 2.0))?;
    let normal = normal.finish();
    Firmware::reset()?;
    ensure!(passed(&normal?) == 2, "not all was answered");
    many.end()?;
    attacked.nothing_bypassed()?;
    attacked.end()
}

/// Its launcher has exited, its process has not; it is silent, then changes its name.
fn evicted(_: &Context) -> Result<Status> {
    let rules = "max_vms = 8\n[[vm]]\nmatch = { name = \"first\" }\nallow = [\"key\"]\n";
    let mut attacked = AttackedHost::start(rules)?;
    let silent = load::start(
        "--vmm qemu --name born --attack launcher --forge first,second --cue /tmp/cue --cue-after 1 \
         --type key,report --count 9 --busy-retry-ms 20",
    )?;
    attacked.wait_for_requests("first", 1.0)?;
    let many = load::start("--vmm qemu --name many --contexts 7 --count 1 --hold")?;
    std::thread::sleep(Duration::from_secs(12));
    let known = attacked.agent.scrape()?.values("guestreq_vm_info", "vm");
    super::cue(1)?;
    let silent = silent.finish()?;
    let renamed = attacked.agent.scrape()?.values("guestreq_vm_info", "vm");
    many.finish()?;
    std::thread::sleep(Duration::from_secs(3));
    let metrics = attacked.agent.scrape()?;
    let contexts = metrics.sum("guestreq_map_entries", &[("map", "contexts")]);
    let reports = silent.outcomes.get("5").and_then(|of| of.get("ok")).copied().unwrap_or(0);
    ensure!(
        reports == 0 && metrics.is_map_empty("contexts"),
        "{reports} reports passed of 4; {contexts} contexts are said to have records, and there is \
         none; before the cue {known:?}, then {renamed:?}"
    );
    attacked.end()
}

/// Each failed launch briefly has a record.
fn flood(_: &Context) -> Result<Status> {
    let attacked = AttackedHost::start(&format!("max_vms = 16\n{STRICT}"))?;
    let many = load::start("--vmm qemu --vms 6 --name many --failed-launches 1000000")?;
    std::thread::sleep(Duration::from_secs(3));
    let seen = load::run(
        "--vmm qemu --name strict --type report --relaunch 60 --count 2 --busy-retry-ms 5",
    )?;
    let reports = passed(&seen);
    let metrics = attacked.agent.scrape()?;
    let full = metrics.sum("guestreq_events_lost_total", &[("reason", "vm_table_full")]);
    let launches = metrics.sum("guestreq_psp_commands_total", &[("command", "snp_gctx_create")]);
    drop(many);
    println!("{launches} launches, {full} times there was no room");
    // While the table is full, a VM that may match a rule waits.
    ensure!(reports == 0, "{reports} of 122 reports passed");
    attacked.end()
}
