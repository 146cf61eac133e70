//! # VMMs with locked memory
//!
//! Reading /proc/PID/cmdline waits for that process' mmap lock. When the agent's loop read it, such
//! a process blocked the whole agent.

use std::time::Instant;

use anyhow::{Result, ensure};
use libc::SIGTERM;

use super::{FaultyHost, STEP_TIMEOUT, requests_continue, wait_for_log};
use crate::{
    agent::{self, Agent, cli, signal, vm_named},
    host::{Firmware, wait_until},
    load,
    locked_memory::LockedMemory,
    scenarios::takeover,
};

/// Each blocks a reader.
const VMS: usize = 20;

pub fn locked(host: &mut FaultyHost) -> Result<()> {
    // New VMs, which the agent first sees with locked memory.
    signal(host.agent.pid(), libc::SIGSTOP)?;
    let before = Firmware::read()?;
    let stuck = load::start(&format!(
        "--vms {VMS} --processes --vmm qemu --name stuck --type report --count 1 --hold"
    ))?;
    wait_until("all have sent a request", STEP_TIMEOUT, || {
        let firmware = Firmware::read()?.since(&before);
        let new = |(launches, requests): &&(u64, u64)| *launches > 0 && *requests > 0;
        Ok(firmware.contexts.values().filter(new).count() == VMS)
    })?;
    let own = stuck.pid();
    let vmms: Vec<u32> = stuck.processes()?.into_iter().filter(|pid| *pid != own).collect();
    ensure!(vmms.len() == VMS, "{vmms:?}");
    let locks: Vec<_> = vmms.iter().map(|pid| LockedMemory::hold(*pid)).collect::<Result<_>>()?;
    signal(host.agent.pid(), libc::SIGCONT)?;

    let held = while_locked(host);
    drop(locks);
    held?;
    host.agent.wait_until("all have answered", |metrics| {
        let named = |vm: &String| vm.starts_with("stuck-");
        let named = metrics.values("guestreq_vm_info", "vm").into_iter().filter(named).count();
        named == VMS && metrics.is_zero("guestreq_vms_unread", &[])
    })?;
    wait_for_log("read the processes of all VMs")?;
    stuck.finish()?;
    Ok(())
}

/// The agent keeps working.
fn while_locked(host: &mut FaultyHost) -> Result<()> {
    check_agent(&mut host.agent, "fresh")?;
    wait_for_log("cannot read a VM's process: ")?;
    // They are listed without names.
    host.agent.wait_until("they are shown without names", |metrics| {
        let unread = |vm: &String| vm.starts_with("unread-");
        metrics.values("guestreq_vm_info", "vm").into_iter().filter(unread).count() == VMS
    })?;
    check_agent(&mut host.agent, "fresher")?;
    // Nor do they block its stop or the next one's start.
    takeover::replace_agent(&mut host.agent, SIGTERM)?;
    check_agent(&mut host.agent, "freshest")
}

fn check_agent(agent: &mut Agent, name: &str) -> Result<()> {
    agent.wait_until("all are unread, and enforcement is verified", |metrics| {
        let verified = [("mode", "enforce"), ("verified", "true")];
        metrics.sum("guestreq_vms_unread", &[]) == VMS as f64
            && metrics.sum("guestreq_enforcement_info", &verified) == 1.0
    })?;
    let begin = Instant::now();
    agent.scrape()?;
    println!("with {VMS} locked VMMs a scrape takes {:.1?}", begin.elapsed());
    for path in ["/healthz", "/readyz"] {
        let (status, why) = agent::get(path)?;
        ensure!(status == 200, "{path}: {why}");
    }
    requests_continue(10)?;
    // A new VM gets its name and policy at once.
    let rate = ["--rate", "1000/s", "--burst", "1000"];
    cli(&[&["limit", "set", "--vm", "web"], &rate[..]].concat())?;
    cli(&["limit", "clear", "--vm", "web"])?;
    let new = load::start(&format!("--vmm qemu --name {name} --type report --count 2 --hold"))?;
    agent.wait_until("a new VM is named", |metrics| {
        metrics.sum("guestreq_vm_info", &[("vm", name)]) == 1.0
    })?;
    vm_named(name)?;
    let seen = new.finish()?;
    ensure!(seen.outcomes["5"]["ok"] == 2, "{:?}", seen.outcomes);
    let read = |agent: &Agent| -> Result<f64> {
        Ok(agent.scrape()?.sum("guestreq_config_last_reload_success_timestamp_seconds", &[]))
    };
    let before = read(agent)?;
    wait_until("the configuration is read again", STEP_TIMEOUT, || {
        signal(agent.pid(), libc::SIGHUP)?;
        Ok(read(agent)? > before)
    })
}
