//! # VMMs that are frozen or stopped
//!
//! A task in the kernel stops on its way back to user space. So its request is made, and it stops
//! with the answer and without a slot.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use super::{end, load_gate, pushing, under_load::all_answered};
use crate::{
    agent::signal,
    cgroup::{Cgroup, ROOT, enter},
    gate::{Gate, Waiter, waiters},
    host::{Firmware, wait_until},
    scenario::{Context, Status, scenario},
};

scenario!(STOPPED: "order/stopped" = stopped,
    "a VMM that is frozen or stopped while it waits or has the slot keeps nobody from the PSP");
scenario!(SUSPENDED: "order/suspended" = suspended,
    "tasks can be frozen for suspend while vCPUs wait, as without the order");

const VMS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum By {
    Freezer,
    Signal,
}

fn stop(by: By, cgroup: &Cgroup, pid: u32) -> Result<()> {
    match by {
        By::Freezer => {
            cgroup.enter(pid)?;
            cgroup.set("cgroup.freeze", "1")
        }
        By::Signal => signal(pid, libc::SIGSTOP),
    }
}

fn is_stopped(by: By, cgroup: &Cgroup, pid: u32) -> Result<bool> {
    match by {
        By::Freezer => Ok(cgroup.get("cgroup.events")?.contains("frozen 1")),
        By::Signal => {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                let stat = fs::read_to_string(thread.path().join("stat"))?;
                if !stat.rsplit_once(") ").is_some_and(|(_, after)| after.starts_with('T')) {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

fn resume(by: By, cgroup: &Cgroup, pid: u32) -> Result<()> {
    match by {
        By::Freezer => {
            cgroup.set("cgroup.freeze", "0")?;
            enter(ROOT, pid)
        }
        By::Signal => signal(pid, libc::SIGCONT),
    }
}

/// Stops one that waits, or that has the slot, and did so before and after.
fn stop_one(by: By, cgroup: &Cgroup, vms: &[Waiter], has_slot: bool) -> Result<Waiter> {
    for _ in 0..100 {
        let before = waiters()?;
        let one = match has_slot {
            // All others wait.
            true if before.len() == VMS - 1 => {
                vms.iter().find(|vm| before.iter().all(|it| it.pid != vm.pid))
            }
            true => None,
            false => before.last(),
        };
        let Some(one) = one else { continue };
        stop(by, cgroup, one.pid)?;
        let after = waiters()?;
        let waits = after.iter().any(|it| it.pid == one.pid);
        if waits != has_slot && after.len() == VMS - 1 {
            return Ok(one.clone());
        }
        resume(by, cgroup, one.pid)?;
    }
    bail!("no VM could be stopped in time")
}

fn requests(context: u64) -> Result<u64> {
    Ok(Firmware::read()?.contexts.get(&context).map_or(0, |it| it.1))
}

fn stop_and_resume(by: By, cgroup: &Cgroup, vms: &[Waiter], has_slot: bool) -> Result<()> {
    let one = stop_one(by, cgroup, vms, has_slot)?;
    let before = requests(one.context)?;
    wait_until("it is stopped", Duration::from_secs(60), || is_stopped(by, cgroup, one.pid))?;
    let stopped = requests(one.context)?;
    // A signal stops the other threads only once one thread has run to receive it.
    let at_once = matches!(by, By::Freezer);
    ensure!(!at_once || stopped <= before + 1, "{by:?}: it sent {stopped} - {before} requests");
    for vm in vms.iter().filter(|vm| vm.pid != one.pid) {
        let so_far = requests(vm.context)?;
        wait_until("another one proceeds", Duration::from_secs(60), || {
            Ok(requests(vm.context)? >= so_far + 3)
        })?;
    }
    ensure!(requests(one.context)? == stopped, "{by:?}: it continued while it was stopped");
    ensure!(waiters()?.iter().all(|it| it.pid != one.pid), "{by:?}: it waits while stopped");
    resume(by, cgroup, one.pid)?;
    wait_until("it continues", Duration::from_secs(60), || Ok(requests(one.context)? > stopped))
}

/// Which VMs there are: those that wait, until each has been seen.
fn all_vms() -> Result<Vec<Waiter>> {
    let mut vms: Vec<Waiter> = Vec::new();
    wait_until("each VM has waited", Duration::from_secs(60), || {
        for waiter in waiters()? {
            if vms.iter().all(|vm| vm.pid != waiter.pid) {
                vms.push(waiter);
            }
        }
        Ok(vms.len() == VMS)
    })?;
    Ok(vms)
}

fn stopped(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    // Long enough to stop a VM meanwhile.
    Firmware::set("latency_us", 50_000)?;
    let before = Firmware::read()?;
    let load = pushing(&gate, VMS as u64, "")?;
    let vms = all_vms()?;
    let cgroup = Cgroup::new("stopped")?;
    for _ in 0..if context.long { 20 } else { 1 } {
        for by in [By::Freezer, By::Signal] {
            for has_slot in [false, true] {
                stop_and_resume(by, &cgroup, &vms, has_slot)
                    .with_context(|| format!("by {by:?}, has the slot: {has_slot}"))?;
            }
        }
    }
    cgroup.remove()?;
    all_answered(&gate, [load], &before)?;
    end(gate)
}

const PM_TEST: &str = "/sys/power/pm_test";
const STATE: &str = "/sys/power/state";
const PUSHERS: u64 = 14;
const VCPUS: u64 = 2;

/// Freezes all tasks as before a suspend, and thaws them.
fn freeze_tasks(gate: &Gate, depth: &str) -> Result<()> {
    gate.set("depth", depth)?;
    let waiting = || -> Result<u64> {
        let order = gate.order()?;
        Ok(order.of("waiting")? + order.of("in_flight")?)
    };
    wait_until("they wait", Duration::from_secs(60), || Ok(waiting()? >= 10))?;
    let before = Firmware::read()?;
    fs::write(STATE, "freeze").with_context(|| format!("{STATE}, depth {depth}"))?;
    let during = Firmware::read()?.since(&before).guest_requests;
    println!("depth {depth}: {during} requests while tasks were frozen");
    // What waits is made first, and then no vCPU sends another one: twice as many would fit.
    ensure!(during < 2 * PUSHERS * VCPUS, "{during} requests while tasks were frozen");
    Ok(())
}

fn suspended(context: &Context) -> Result<Status> {
    if !Path::new(PM_TEST).exists() {
        return Ok(Status::Skipped("the kernel has no pm_test"));
    }
    let gate = load_gate()?;
    fs::write(PM_TEST, "freezer").context(PM_TEST)?;
    // Seconds, from freezing to thawing.
    fs::write("/sys/module/suspend/parameters/pm_test_delay", "1").context("pm_test_delay")?;
    let before = Firmware::read()?;
    let load = pushing(&gate, PUSHERS, &format!("--vcpus {VCPUS} --vmpck all"))?;
    for _ in 0..if context.long { 20 } else { 1 } {
        freeze_tasks(&gate, "0")?;
        freeze_tasks(&gate, "1")?;
    }
    fs::write(PM_TEST, "none").context(PM_TEST)?;
    all_answered(&gate, [load], &before)?;
    end(gate)
}
