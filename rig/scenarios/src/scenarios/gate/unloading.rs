//! # Removing the gate under load
//!
//! No request is lost or sent twice, and no guest reads the gate's magic value.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{ensure_all, outcomes};
use crate::{
    agent::signal,
    fixed_answer::{Answer, FixedAnswer},
    gate::Gate,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(UNDER_LOAD: "gate/unload_under_load" = under_load,
    "the gate can be removed while sixteen VMs wait for a slow PSP");
scenario!(WHILE_BUSY: "gate/unload_while_busy" = while_busy,
    "the gate can be removed while guests get BUSY, and none reads its magic value");
scenario!(UNLOAD_FORGED: "gate/unload_forged" = unload_forged,
    "a guest that forges the gate's magic value does not hide another vCPU that got BUSY");

fn under_load(context: &Context) -> Result<Status> {
    let rounds = if context.long { 200 } else { 6 };
    let before = Firmware::read()?;
    let mut load = load::start("--vms 16 --processes --seconds 3600 --start-together")?;
    let mut through_gate = 0;
    for round in 0..rounds {
        // With the second latency the queue outlasts all of the kernel's own waits.
        Firmware::set("latency_us", if round % 2 == 0 { 3000 } else { 100_000 })?;
        let gate = Gate::load(&[])?;
        wait_until("the gate got requests", Duration::from_secs(60), || {
            ensure!(load.is_running()?, "the load ended in round {round}");
            Ok(gate.counts()?.unanswered >= 17)
        })?;
        through_gate += gate.counts()?.sum();
        gate.remove()?;
    }
    let seen = load.stop()?;
    Firmware::reset()?;
    ensure_all(&seen, "ok", seen.requests)?;
    let sent = Firmware::read()?.since(&before).guest_requests;
    ensure!(sent == seen.requests, "{sent} at the PSP, {} from guests", seen.requests);
    println!(
        "{sent} requests, {through_gate} of them through the gate, which was removed {rounds} times"
    );
    Ok(Status::Passed)
}

/// What the gate returns to ccp's caller and no guest may ever read.
const MAGIC: u64 = 0x4741_5445;

fn while_busy(context: &Context) -> Result<Status> {
    let (outcomes, rounds) = removed_while_busy(context)?;
    println!("{outcomes:?}, the gate removed {rounds} times");
    Ok(Status::Passed)
}

/// A guest that writes the magic value into its own GHCB looks like one that got BUSY. It must not
/// hide one that did.
fn unload_forged(context: &Context) -> Result<Status> {
    let forgers =
        load::start(&format!("--name forger --vcpus 2 --seconds 3600 --forge-answer {MAGIC:#x}"))?;
    let (outcomes, rounds) = removed_while_busy(context)?;
    let forged = forgers.stop()?.outcomes.remove("vmgexit").context("nothing was forged")?;
    // The forger reads BUSY with the gate, and its own magic value without: it forges where the
    // gate looks.
    let raw = format!("fw:{MAGIC:#x}");
    ensure!(forged.keys().eq(["busy", &raw]), "{forged:?}");
    println!("{outcomes:?}, forged: {forged:?}, the gate removed {rounds} times");
    Ok(Status::Passed)
}

/// A guest that reads the magic value takes it for a firmware error and loses its key. Their VMM is
/// stopped while the gate is removed, so that some guests are between magic and BUSY. Returns what
/// they saw, and how often the gate was removed.
fn removed_while_busy(context: &Context) -> Result<(Vec<(String, u64)>, u32)> {
    let rounds = if context.long { 200 } else { 12 };
    let before = Firmware::read()?;
    let _turning_away = FixedAnswer::with(Answer::Busy)?;
    let mut load = load::start(
        "--vms 16 --seconds 3600 --start-together --busy-retry-ms 1 --busy-give-up-ms 3600000",
    )?;
    for round in 0..rounds {
        let gate = Gate::load(&[])?;
        wait_until("guests got BUSY", Duration::from_secs(60), || {
            ensure!(load.is_running()?, "the load ended in round {round}");
            Ok(gate.counts()?.busy >= 50)
        })?;
        signal(load.pid(), libc::SIGSTOP)?;
        let removed = thread::spawn(|| gate.remove());
        wait_until("the hook is gone", Duration::from_secs(60), || {
            let hooked = fs::read_to_string("/sys/kernel/tracing/enabled_functions")?;
            Ok(!hooked.contains("sev_issue_cmd_external_user"))
        })?;
        // It waits two seconds for them.
        thread::sleep(Duration::from_millis(700));
        signal(load.pid(), libc::SIGCONT)?;
        removed.join().map_err(|_| anyhow!("rmmod panicked"))??;
    }
    let seen = load.stop()?;
    let outcomes = outcomes(&seen);
    let names: Vec<&str> = outcomes.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["busy", "ok"], "{outcomes:?}");
    let sent = Firmware::read()?.since(&before).guest_requests;
    ensure!(Some(&("ok".into(), sent)) == outcomes.last(), "{sent} at the PSP, {outcomes:?}");
    Ok((outcomes, rounds))
}
