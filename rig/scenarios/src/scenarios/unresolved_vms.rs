//! # New VMs

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent::signal,
    enforcing::Enforcing,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(FIRST_REQUEST: "unresolved_vms/first_request" = first_request,
    "a new VM's first request is decided by the policy that matches it");
scenario!(AGENT_STOPPED: "unresolved_vms/agent_stopped" = agent_stopped,
    "a new VM waits for a slow agent, but not for one that is stopped or dead");

/// The default denies exports and the rule allows them; for imports the other way round.
const RULES: &str = "\
allow = [\"report\", \"import\"]\n\
[[vm]]\nmatch = { name = \"free-*\" }\nallow = [\"report\", \"export\"]\n";

fn first_request(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start(RULES)?;
    for round in 0..10 {
        let before = Firmware::read()?;
        let seen =
            load::run(&format!("--vmm qemu --name free-{round} --type export,import --count 2"))?;
        let firmware = Firmware::read()?.since(&before);
        ensure!(seen.outcomes["7"]["ok"] == 1, "round {round}: {:?}", seen.outcomes);
        ensure!(seen.outcomes["9"]["fw:0x16"] == 1, "round {round}: {:?}", seen.outcomes);
        ensure!(firmware.guest_requests == 1, "round {round}: {:?}", firmware.messages);
    }
    Enforcing { agent, gate }.end()
}

fn agent_stopped(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start(RULES)?;
    // Slow: the agent is stopped while a VM starts.
    signal(agent.pid(), libc::SIGSTOP)?;
    let slow = load::start("--vmm qemu --name free-slow --type export --count 3")?;
    thread::sleep(Duration::from_millis(1500));
    signal(agent.pid(), libc::SIGCONT)?;
    let seen = slow.finish()?;
    let busy = seen.per_vm[0].busy;
    ensure!(seen.outcomes["7"].get("ok") == Some(&3), "slow: {:?}", seen.outcomes);
    println!("with a slow agent a new VM gets BUSY {busy} times");
    ensure!(busy > 0, "nothing waited");

    // Stopped for good, then dead: the default decides.
    signal(agent.pid(), libc::SIGSTOP)?;
    thread::sleep(Duration::from_secs(4));
    by_default("free-stopped")?;
    signal(agent.pid(), libc::SIGKILL)?;
    signal(agent.pid(), libc::SIGCONT)?;
    by_default("free-dead")?;
    Enforcing { agent, gate }.end()
}

/// The default denies exports.
fn by_default(name: &str) -> Result<()> {
    let before = Firmware::read()?;
    let seen = load::run(&format!("--vmm qemu --name {name} --type report,export --count 6"))?;
    let firmware = Firmware::read()?.since(&before);
    ensure!(seen.outcomes["5"].get("ok") == Some(&3), "{name}: {:?}", seen.outcomes);
    ensure!(seen.outcomes["7"].get("fw:0x16") == Some(&3), "{name}: {:?}", seen.outcomes);
    ensure!(disallowed_that_reached(&firmware) == 0, "{name}: {:?}", firmware.messages);
    Ok(())
}
