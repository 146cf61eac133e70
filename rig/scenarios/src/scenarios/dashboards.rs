//! # Dashboards
//!
//! A Prometheus that xtask starts outside the guest scrapes the agent, and xtask checks the results
//! (xtask/src/test/dashboards/live.rs). This scenario provides agent and guests.

use std::net::TcpListener;

use anyhow::{Context as _, Result};

use crate::{
    agent::Agent,
    demo,
    gate::Gate,
    host::Firmware,
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(WATCHED: "dashboards/scraped" = watched,
    "a Prometheus outside scrapes the agent without VMs and under load");

pub const GROUP: Group = Group {
    // xtask uses this name.
    name: "dashboards",
    // It is scraped from outside.
    cmdline: "rig.ip=10.0.2.15/24",
    once: &[WATCHED],
    ..Group::DEFAULT
};

/// xtask connects here to let the scenario continue.
const CONTINUE: &str = "0.0.0.0:9941";
/// Limits that `greedy` exceeds, and the backend with the most metrics; in audit neither has an
/// effect. The gate is loaded for its order, and open.
const CONFIG: &str = "listen = \"0.0.0.0:9940\"\nbackend = \"vcpu\"\n\
     limit = { rate = \"5/s\", burst = 10, share = \"5%\" }\nweight = 2\n";
/// A name that could break queries and legends; xtask looks for it.
const HOSTILE: &str =
    r#"--vmm qemu --name wéb"{$x}|.*\d'`})# --rate 2 --type report,export --fault replay:3"#;

fn watched(_: &Context) -> Result<Status> {
    let listener = TcpListener::bind(CONTINUE).context(CONTINUE)?;
    Firmware::as_published()?;
    let gate = Gate::load(&[])?;
    let agent = Agent::with_config(CONFIG)?;
    listener.accept().context("xtask has not connected")?;
    let guests = demo::GUESTS.iter().chain(&[HOSTILE]);
    let start = |guests: &&str| load::start(&format!("{guests} --seconds 86400"));
    let guests: Vec<_> = guests.map(start).collect::<Result<_>>()?;
    listener.accept().context("xtask has not connected again")?;
    drop(guests);
    drop(agent);
    gate.remove()?;
    Firmware::reset()?;
    Ok(Status::Passed)
}
