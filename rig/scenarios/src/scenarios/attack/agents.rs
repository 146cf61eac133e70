//! # Attacks while agents are replaced

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{AttackedHost, STEP_TIMEOUT, cue, denied, passed};
use crate::scenarios::takeover::replace_agent;
use crate::{
    agent::cli,
    host::wait_until,
    load::{self, Load},
    scenario::{Context, Status, scenario},
};

scenario!(MOVES: "attack/moves" = moves,
    "a VM that moves between processes keeps its policy while policy and agent change");
scenario!(REPLACED: "attack/forged_arguments" = replaced,
    "the next agent recognizes a VM whose arguments lie or whose main thread has exited");

fn moves(_: &Context) -> Result<Status> {
    let mut attacked = AttackedHost::start("")?;
    let load = load::start(
        "--vmm qemu --name mover --vcpus 2 --vmpck all --attack hops --type report,export \
         --seconds 3600 --busy-retry-ms 5",
    )?;
    attacked.wait_for_requests("mover", 5.0)?;
    let (mut agents, mut refused) = (0, 0);
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        cli(&["policy", "deny", "report", "--vm", "mover", "--yes"])?;
        // Requests decided earlier may be in flight.
        let before = load.while_stopped(|| attacked.reached())?;
        replace_agent(&mut attacked.agent, signal)?;
        agents += 1;
        sleep(Duration::from_millis(300));
        let denied = attacked.host.gate()?.denied;
        let passed = attacked.reached()? - before;
        ensure!(passed == 0, "{passed} reports passed that were denied, agent {agents}");
        cli(&["policy", "allow", "report", "--vm", "mover"])?;
        wait_until("reports pass again", STEP_TIMEOUT, || Ok(attacked.reached()? > before))?;
        refused = denied;
    }
    let seen = load.stop()?;
    ensure!(refused > 0 && seen.reruns > 0, "{refused} refused, {} times half-way", seen.reruns);
    println!("{} passed, {refused} denied, {} runs ended half-way", passed(&seen), seen.reruns);
    attacked.is_exact()?;
    attacked.end()
}

/// A new agent finds another name in /proc, or none.
fn replaced(_: &Context) -> Result<Status> {
    let mut attacked = AttackedHost::start("")?;
    let options = "--seconds 3600 --rate 20";
    let liar = denied(&mut attacked, "liar", &format!("{options} --forge good"))?;
    let lead = denied(&mut attacked, "lead", &format!("{options} --attack leader-exits"))?;
    let before = attacked.reached()?;
    cue(0)?;
    left(&lead)?;
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        replace_agent(&mut attacked.agent, signal)?;
        let decided = attacked.host.gate()?.sum();
        wait_until("both continue", STEP_TIMEOUT, || {
            Ok(attacked.host.gate()?.sum() > decided + 20)
        })?;
        let passed = attacked.reached()? - before;
        ensure!(passed == 0, "{passed} reports passed with the next agent: {}", cli(&["vms"])?);
    }
    for load in [liar, lead] {
        ensure!(passed(&load.stop()?) == 1, "{} passed", attacked.reached()? - before);
    }
    attacked.is_exact()?;
    attacked.end()
}

/// Waits until the main thread of a load's VM has exited.
fn left(load: &Load) -> Result<()> {
    let path = format!("/proc/{0}/task/{0}/children", load.pid());
    let children = fs::read_to_string(&path).context(path)?;
    let child = children.split_whitespace().next().context("no VM")?;
    wait_until("the main thread has exited", STEP_TIMEOUT, || {
        Ok(fs::read_to_string(format!("/proc/{child}/stat"))?.contains(") Z "))
    })
}
