//! # VMMs whose memory is locked
//!
//! Row 1 of the second review: /proc/PID/cmdline was read by the agent's loop, and waits for the
//! lock of that process' memory. Whoever held that, held up all of the agent.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd as _,
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use libc::SIGTERM;

use super::{PATIENCE, Stage, go_on, is_told};
use crate::{
    agent::{self, Agent, cli, json, signal},
    host::{Firmware, wait_until},
    load,
    scenarios::outlive,
};

/// Each keeps a reader waiting.
const VMS: usize = 20;
/// `_IO('S', 2)`
const SNPSIM_HOLD_MEMORY: u64 = (b'S' as u64) << 8 | 2;

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
    Firmware::set("hold_memory", 1)?;
    let holders: Vec<_> = vmms.iter().map(|pid| hold(*pid)).collect::<Result<_>>()?;
    wait_until("their memory is locked", PATIENCE, || Ok(vmms.iter().all(|pid| is_locked(*pid))))?;
    signal(stage.agent.pid(), libc::SIGCONT)?;

    let held = while_locked(stage);
    Firmware::set("hold_memory", 0)?;
    for holder in holders {
        holder.join().map_err(|_| anyhow::anyhow!("who holds the memory has panicked"))??;
    }
    held?;
    stage.agent.wait_until("all have answered", |metrics| {
        let named = |vm: &String| vm.starts_with("stuck-");
        let named = metrics.values("guestreq_vm_info", "vm").into_iter().filter(named).count();
        named == VMS && metrics.sum("guestreq_vms_unread", &[]) == 0.0
    })?;
    is_told("all VMs' processes could be read")?;
    stuck.finish()?;
    Ok(())
}

/// Everything goes on.
fn while_locked(stage: &mut Stage) -> Result<()> {
    all_goes_on(&mut stage.agent, "fresh")?;
    is_told("a VM's process cannot be read: ")?;
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

/// Has a thread hold the lock of a process' memory.
fn hold(pid: u32) -> Result<JoinHandle<Result<()>>> {
    let device = File::open("/dev/snpsim").context("/dev/snpsim")?;
    let holder = thread::Builder::new().spawn(move || {
        // SAFETY: no memory is passed.
        let ret = unsafe {
            libc::ioctl(device.as_raw_fd(), SNPSIM_HOLD_MEMORY as _, libc::c_ulong::from(pid))
        };
        ensure!(ret == 0, "holding the memory of {pid}: {}", io::Error::last_os_error());
        Ok(())
    });
    holder.context("a thread")
}

/// Whether who reads its arguments waits; that thread then does as long as it is locked.
fn is_locked(pid: u32) -> bool {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(fs::read(format!("/proc/{pid}/cmdline"))));
    matches!(told.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout))
}
