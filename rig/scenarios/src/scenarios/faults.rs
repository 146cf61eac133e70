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
    scenario::{Scenario, Status},
};

pub const THOUSAND: Scenario = Scenario {
    id: "faults/thousand_connections",
    description: "a thousand connections block neither scrapes nor the command line",
    check: |_| survives(clients::thousand),
};
pub const NEVER_READ: Scenario = Scenario {
    id: "faults/scrape_never_read",
    description: "a scrape that is never read is dropped, and others do not wait for it",
    check: |_| survives(clients::never_read),
};
pub const READERS: Scenario = Scenario {
    id: "faults/readers",
    description: "members of the reading group cost root neither memory nor a connection",
    check: |_| survives(readers::full_group),
};
pub const MEMORY: Scenario = Scenario {
    id: "faults/locked_memory",
    description: "VMMs whose memory is locked block nothing, and get their names once they answer",
    check: |_| survives(memory::locked),
};
pub const SLOW_DISK: Scenario = Scenario {
    id: "faults/slow_disk",
    description: "a hung disk blocks the change that waits for it and nothing else",
    check: |_| survives(files::slow_disk),
};
pub const LOG: Scenario = Scenario {
    id: "faults/log",
    description: "a log that nobody reads blocks nothing",
    check: |_| survives(log::blocked),
};
pub const DESCRIPTORS: Scenario = Scenario {
    id: "faults/descriptors",
    description: "out of file descriptors the agent counts and enforces, and logs why nobody can connect",
    check: |_| survives(clients::descriptors),
};
pub const SOCKET: Scenario = Scenario {
    id: "faults/socket_removed",
    description: "a removed socket is recreated, and this is logged",
    check: |_| survives(files::socket),
};
pub const PINS_REMOVED: Scenario = Scenario {
    id: "faults/pins_removed",
    description: "an unmounted BPF file system is reported, and pins are restored once it is back",
    check: |_| survives(files::pins),
};
pub const CLOCK: Scenario = Scenario {
    id: "faults/clock",
    description: "setting the clock changes no count and no rate",
    check: |_| survives(files::clock),
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
    agent::signal(load.pid(), libc::SIGTERM)?;
    let seen = load.finish()?;
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
