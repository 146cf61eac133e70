//! # Faults around the agent
//!
//! One after the other, with one enforcing agent and guests that keep sending: what is reported,
//! and that no count is lost. A hung PSP is in `hung_psp`, a full disk in `config`, a limit's clock
//! in `edge_cases`.

pub mod clients;
pub mod files;
pub mod log;
mod memory;
pub mod readers;

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::takeover::{self, Host};
use crate::{
    agent::{self, Agent, json},
    host::{Firmware, wait_until},
    load,
    scenario::{Group, Status, scenario},
};

scenario!(night THOUSAND: "faults/thousand_connections" = |_| survives(clients::thousand),
    "a thousand connections block neither scrapes nor the command line");
scenario!(NEVER_READ: "faults/scrape_never_read" = |_| survives(clients::never_read),
    "a scrape that is never read is dropped, and others do not wait for it");
scenario!(READERS: "faults/readers" = |_| survives(readers::full_group),
    "members of the reading group cost root neither memory nor a connection");
scenario!(MEMORY: "faults/locked_memory" = |_| survives(memory::locked),
    "VMMs whose memory is locked block nothing, and get their names once they answer");
scenario!(SLOW_DISK: "faults/slow_disk" = |_| survives(files::slow_disk),
    "a hung disk blocks the change that waits for it and nothing else");
scenario!(LOG: "faults/log" = |_| survives(log::blocked), "a log that nobody reads blocks nothing");
scenario!(DESCRIPTORS: "faults/descriptors" = |_| survives(clients::descriptors),
    "out of file descriptors the agent counts and enforces, and logs why nobody can connect");
scenario!(SOCKET: "faults/socket_removed" = |_| survives(files::socket),
    "a removed socket is recreated, and this is logged");
scenario!(PINS_REMOVED: "faults/pins_removed" = |_| survives(files::pins),
    "an unmounted BPF file system is reported, and pins are restored once it is back");
scenario!(CLOCK: "faults/clock" = |_| survives(files::clock),
    "setting the clock changes no count and no rate");

pub const GROUP: Group = Group {
    name: "faults",
    once: &[
        THOUSAND,
        SOCKET,
        CLOCK,
        NEVER_READ,
        READERS,
        MEMORY,
        SLOW_DISK,
        LOG,
        DESCRIPTORS,
        PINS_REMOVED,
    ],
    ..Group::DEFAULT
};

const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Half of its requests pass, half are refused.
const LOAD: &str = "--vmm qemu --name web --vcpus 2 --vmpck all --type report,export --rate 20 \
                    --seconds 36000";

pub struct FaultyHost {
    host: Host,
    agent: Agent,
    /// A scraper that never reads, started first.
    scraper: clients::Scraper,
}

/// Kept between scenarios, except after a failure.
static HOST: Mutex<Option<FaultyHost>> = Mutex::new(None);

impl FaultyHost {
    fn set() -> Result<FaultyHost> {
        let host = Host::fresh("")?;
        let agent = takeover::start(&[])?;
        let scraper = clients::Scraper::start()?;
        Ok(FaultyHost { host, agent, scraper })
    }
}

/// Injects a fault while guests send: they keep sending, and all is counted.
fn survives(fault: fn(&mut FaultyHost) -> Result<()>) -> Result<Status> {
    let mut held = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let mut host = match held.take() {
        Some(host) => host,
        None => FaultyHost::set()?,
    };
    let load = load::start(LOAD)?;
    requests_continue(5).context("at first")?;
    fault(&mut host)?;
    requests_continue(5).context("at last")?;
    let seen = load.stop()?;
    let answered = host.host.exact(&host.agent)?;
    let denied = host.host.gate()?.denied;
    ensure!(seen.outcomes["7"].keys().eq(["fw:0x16"]), "exports: {:?}", seen.outcomes["7"]);
    println!("{answered} passed and {denied} were denied since the start; all are counted");
    *held = Some(host);
    Ok(Status::Passed)
}

/// Waits until this many more requests reach the PSP.
fn requests_continue(requests: u64) -> Result<()> {
    let before = Firmware::read()?.guest_requests;
    wait_until("requests continue", STEP_TIMEOUT, || {
        Ok(Firmware::read()?.guest_requests >= before + requests)
    })
}

fn wait_for_log(what: &str) -> Result<()> {
    wait_until(
        &format!("the log says {what:?}"),
        STEP_TIMEOUT,
        || Ok(agent::log().contains(what)),
    )?;
    let log = agent::log();
    println!("{}", log.lines().rfind(|line| line.contains(what)).unwrap_or_default());
    Ok(())
}

/// The agent's open files.
fn open_files(agent: &Agent) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", agent.pid())).context("its descriptors")?.count())
}

/// The load's VM is listed once, under its name.
fn web_is_running() -> Result<()> {
    let vms = json("vms")?;
    let all = vms["vms"].as_array().context("no vms")?;
    let running: Vec<_> = all.iter().filter(|vm| vm["running"] == true).collect();
    ensure!(running.len() == 1 && running[0]["vm"] == "web", "{running:?}");
    Ok(())
}
