//! # A locked-down kernel
//!
//! Lockdown can only be raised, so these run in this order.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::assert_exact;
use crate::{
    agent::{self, Agent},
    host::Firmware,
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(INTEGRITY: "lockdown/integrity" = integrity,
    "under lockdown=integrity the agent observes");
scenario!(CONFIDENTIALITY: "lockdown/confidentiality" = confidentiality,
    "under lockdown=confidentiality the agent refuses to start and says why");

pub const GROUP: Group =
    Group { name: "lockdown", once: &[INTEGRITY, CONFIDENTIALITY], ..Group::DEFAULT };

fn raise(level: &str) -> Result<()> {
    fs::write("/sys/kernel/security/lockdown", level).with_context(|| format!("lockdown {level}"))
}

fn integrity(_: &Context) -> Result<Status> {
    raise("integrity")?;
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--vms 2 --count 10 --type report,key")?;
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered == 20, "{answered} of 20");
    Ok(Status::Passed)
}

fn confidentiality(_: &Context) -> Result<Status> {
    raise("confidentiality")?;
    let (code, line) = agent::refusal(&[])?;
    ensure!(code == 1 && line.contains("confidentiality"), "exit {code}: {line}");
    println!("{line}");
    Ok(Status::Passed)
}
