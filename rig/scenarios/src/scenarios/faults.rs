//! # What fails around the agent
//!
//! One after the other, under one agent that enforces, beside guests that go on asking: what the
//! user is told, and that nothing is lost that had been counted. A hung PSP is in `hang`, a full disk
//! in `config`, a limit's clock in `odd`.

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

use super::outlive::{self, Host};
use crate::{
    agent::{self, Agent, json},
    host::{Firmware, wait_until},
    load,
    scenario::{Outcome, Scenario},
};

pub const THOUSAND: Scenario = Scenario {
    name: "a_thousand_connections_keep_neither_a_scrape_nor_the_command_line_out",
    check: |_| survives(clients::thousand),
};
pub const NEVER_READ: Scenario = Scenario {
    name: "a_scrape_that_never_finishes_is_dropped_and_the_others_do_not_wait",
    check: |_| survives(clients::never_read),
};
pub const READERS: Scenario = Scenario {
    name: "a_full_reading_group_takes_neither_memory_nor_a_place_from_root",
    check: |_| survives(readers::full_group),
};
pub const MEMORY: Scenario = Scenario {
    name: "vmms_whose_memory_is_locked_hold_nobody_up_and_are_named_when_they_answer",
    check: |_| survives(memory::locked),
};
pub const SLOW_DISK: Scenario = Scenario {
    name: "a_disk_that_hangs_holds_up_the_change_that_waits_for_it_and_nothing_else",
    check: |_| survives(files::slow_disk),
};
pub const LOG: Scenario = Scenario {
    name: "a_log_that_nobody_reads_holds_nothing_up",
    check: |_| survives(log::blocked),
};
pub const DESCRIPTORS: Scenario = Scenario {
    name: "out_of_descriptors_it_counts_and_enforces_on_and_says_why_nobody_can_connect",
    check: |_| survives(clients::descriptors),
};
pub const SOCKET: Scenario = Scenario {
    name: "a_socket_that_was_removed_is_made_anew_and_it_is_said",
    check: |_| survives(files::socket),
};
pub const PINS_GONE: Scenario = Scenario {
    name: "a_bpf_file_system_that_is_unmounted_is_told_and_pinned_to_again_once_it_is_back",
    check: |_| survives(files::pins),
};
pub const CLOCK: Scenario = Scenario {
    name: "a_clock_that_is_set_changes_no_count_and_no_rate",
    check: |_| survives(files::clock),
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Half of its requests pass, half are refused.
const LOAD: &str = "--vmm qemu --name web --vcpus 2 --vmpck all --type report,export --rate 20 \
                    --seconds 36000";

pub struct Stage {
    host: Host,
    agent: Agent,
    /// A scraper that never reads, from the beginning.
    scraper: clients::Scraper,
}

/// Between two scenarios; what failed is not gone on with.
static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

impl Stage {
    fn set() -> Result<Stage> {
        let host = Host::fresh("")?;
        let agent = outlive::start(&[])?;
        let scraper = clients::Scraper::start()?;
        Ok(Stage { host, agent, scraper })
    }
}

/// Something fails while guests ask: they go on asking, and all is counted.
fn survives(fault: fn(&mut Stage) -> Result<()>) -> Result<Outcome> {
    let mut held = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stage = match held.take() {
        Some(stage) => stage,
        None => Stage::set()?,
    };
    let load = load::start(LOAD)?;
    go_on(5).context("at first")?;
    fault(&mut stage)?;
    go_on(5).context("at last")?;
    agent::signal(load.pid(), libc::SIGTERM)?;
    let seen = load.finish()?;
    let answered = stage.host.exact(&stage.agent)?;
    let denied = stage.host.gate()?.denied;
    ensure!(seen.outcomes["7"].keys().eq(["fw:0x16"]), "exports: {:?}", seen.outcomes["7"]);
    println!("{answered} passed and {denied} were denied since the start; all are counted");
    *held = Some(stage);
    Ok(Outcome::Kept)
}

/// So many more requests reach the PSP.
fn go_on(requests: u64) -> Result<()> {
    let before = Firmware::read()?.guest_requests;
    wait_until("requests go on", PATIENCE, || {
        Ok(Firmware::read()?.guest_requests >= before + requests)
    })
}

fn is_told(what: &str) -> Result<()> {
    wait_until(&format!("the log says {what:?}"), PATIENCE, || Ok(agent::log().contains(what)))?;
    let log = agent::log();
    println!("{}", log.lines().rfind(|line| line.contains(what)).unwrap_or_default());
    Ok(())
}

/// The agent's open files.
fn open_files(agent: &Agent) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", agent.pid())).context("its descriptors")?.count())
}

/// The load's VM runs under its own name, and once.
fn web_runs() -> Result<()> {
    let vms = json("vms")?;
    let all = vms["vms"].as_array().context("no vms")?;
    let running: Vec<_> = all.iter().filter(|vm| vm["running"] == true).collect();
    ensure!(running.len() == 1 && running[0]["vm"] == "web", "{running:?}");
    Ok(())
}
