//! # VMMs whose memory is locked
//!
//! Row 1 of the second review: /proc/PID/cmdline was read by the agent's loop, and waits for the
//! lock of that process' memory. Whoever held that, held up all of the agent.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use libc::SIGTERM;

use super::{PATIENCE, Stage, go_on, is_told};
use crate::{
    agent::{self, Agent, cli, json, signal},
    host::{Firmware, wait_until},
    load,
    locked::Locked,
    scenarios::outlive,
};

/// Each keeps a reader waiting.
const VMS: usize = 20;

pub fn locked(stage: &mut Stage) -> Result<()> {
    // New VMs, which the agent sees for the first time when their memory is locked.
    signal(stage.agent.pid(), libc::SIGSTOP)?;
    let before = Firmware::read()?;
    let stuck = load::start(&format!(
        "--vms {VMS} --processes --vmm qemu --name stuck --type report --count 1 --hold"
    ))?;
    wait_until("all have asked", PATIENCE, || {
        let firmware = Firmware::read()?.since(&before);
        let new = |(launches, requests): &&(u64, u64)| *launches > 0 && *requests > 0;
        Ok(firmware.contexts.values().filter(new).count() == VMS)
    })?;
    let own = stuck.pid();
    let vmms: Vec<u32> = stuck.processes()?.into_iter().filter(|pid| *pid != own).collect();
    ensure!(vmms.len() == VMS, "{vmms:?}");
    let locks: Vec<_> = vmms.iter().map(|pid| Locked::of(*pid)).collect::<Result<_>>()?;
    signal(stage.agent.pid(), libc::SIGCONT)?;

    let held = while_locked(stage);
    drop(locks);
    held?;
    stage.agent.wait_until("all have answered", |metrics| {
        let named = |vm: &String| vm.starts_with("stuck-");
        let named = metrics.values("guestreq_vm_info", "vm").into_iter().filter(named).count();
        named == VMS && metrics.sum("guestreq_vms_unread", &[]) == 0.0
    })?;
    is_told("read the processes of all VMs")?;
    stuck.finish()?;
    Ok(())
}

/// Everything goes on.
fn while_locked(stage: &mut Stage) -> Result<()> {
    all_goes_on(&mut stage.agent, "fresh")?;
    is_told("cannot read a VM's process: ")?;
    // They hide nothing for want of names.
    stage.agent.wait_until("they are shown without names", |metrics| {
        let unread = |vm: &String| vm.starts_with("unread-");
        metrics.values("guestreq_vm_info", "vm").into_iter().filter(unread).count() == VMS
    })?;
    all_goes_on(&mut stage.agent, "fresher")?;
    // Nor do they hold up its end, or the next one's start.
    outlive::succeed(&mut stage.agent, SIGTERM)?;
    all_goes_on(&mut stage.agent, "freshest")
}

fn all_goes_on(agent: &mut Agent, name: &str) -> Result<()> {
    agent.wait_until("all are unread, and enforcement is verified", |metrics| {
        let verified = [("mode", "enforce"), ("verified", "true")];
        metrics.sum("guestreq_vms_unread", &[]) == VMS as f64
            && metrics.sum("guestreq_enforcement_info", &verified) == 1.0
    })?;
    let begin = Instant::now();
    agent.scrape()?;
    println!("beside {VMS} VMMs whose memory is locked a scrape takes {:.1?}", begin.elapsed());
    for path in ["/healthz", "/readyz"] {
        let (status, why) = agent::get(path)?;
        ensure!(status == 200, "{path}: {why}");
    }
    go_on(10)?;
    // A new VM has its name at once, and its own policy.
    let rate = ["--rate", "1000/s", "--burst", "1000"];
    cli(&[&["limit", "set", "--vm", "web"], &rate[..]].concat())?;
    cli(&["limit", "clear", "--vm", "web"])?;
    let new = load::start(&format!("--vmm qemu --name {name} --type report --count 2 --hold"))?;
    agent.wait_until("a new VM is named", |metrics| {
        metrics.sum("guestreq_vm_info", &[("vm", name)]) == 1.0
    })?;
    let vms = json("vms")?;
    let vms = vms["vms"].as_array().context("no vms")?;
    ensure!(vms.iter().any(|vm| vm["vm"] == name), "{vms:?}");
    let seen = new.finish()?;
    ensure!(seen.outcomes["5"]["ok"] == 2, "{:?}", seen.outcomes);
    let read = |agent: &Agent| -> Result<f64> {
        Ok(agent.scrape()?.sum("guestreq_config_last_reload_success_timestamp_seconds", &[]))
    };
    let before = read(agent)?;
    wait_until("the configuration is read again", PATIENCE, || {
        signal(agent.pid(), libc::SIGHUP)?;
        Ok(read(agent)? > before)
    })
}
