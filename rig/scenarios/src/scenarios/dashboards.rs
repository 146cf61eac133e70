//! # What dashboards show
//!
//! The agent is watched from outside the guest, by a Prometheus that xtask starts: what it sees are
//! tests of their own there (xtask/src/test/dashboards/live.rs). Here is only what there is to see.

use std::net::TcpListener;

use anyhow::{Context as _, Result};

use crate::{
    agent::Agent,
    demo,
    host::Firmware,
    load,
    scenario::{Context, Scenario, Status},
};

/// xtask wait_for_requests it by this name.
pub const GROUP: &str = "dashboards";
pub const WATCHED: Scenario = Scenario {
    id: "dashboards/scraped",
    description: "a Prometheus outside scrapes the agent without VMs and under load",
    check: watched,
};

/// Whoever watches connects to this to say that we may go on.
const TURN: &str = "0.0.0.0:9941";
/// A limit that `greedy` exceeds, and the backend that has most to show: in audit both change nothing.
const CONFIG: &str =
    "listen = \"0.0.0.0:9940\"\nbackend = \"vcpu\"\nlimit = { rate = \"5/s\", burst = 10 }\n";
/// Its name is chosen to break queries and legends; xtask looks for it.
const HOSTILE: &str =
    r#"--vmm qemu --name wéb"{$x}|.*\d'`})# --rate 2 --type report,export --fault replay:3"#;

fn watched(_: &Context) -> Result<Status> {
    let turn = TcpListener::bind(TURN).context(TURN)?;
    demo::times()?;
    let agent = Agent::with_config(CONFIG)?;
    turn.accept().context("nobody watches")?;
    let guests = demo::GUESTS.iter().chain(&[HOSTILE]);
    let start = |guests: &&str| load::start(&format!("{guests} --seconds 86400"));
    let guests: Vec<_> = guests.map(start).collect::<Result<_>>()?;
    turn.accept().context("nobody watches any more")?;
    drop(guests);
    drop(agent);
    Firmware::reset()?;
    Ok(Status::Passed)
}
