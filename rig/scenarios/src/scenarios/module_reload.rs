//! # Reloading kernel modules

use anyhow::{Result, ensure};

use super::assert_exact_but;
use crate::{
    agent::{self, Agent},
    host::{self, Firmware},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(RELOADED: "module_reload/under_agent" = reloaded,
    "kernel modules can be reloaded while the agent runs");

/// All three, in the order of `modprobe -r kvm_amd`.
fn reloaded(_: &Context) -> Result<Status> {
    if host::is_built_in("kvm-amd") {
        return Ok(Status::Skipped("kvm_amd is built in"));
    }
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    for round in 0..3u32 {
        load::run("--vms 2 --processes --count 20")?;
        host::rmmod("kvm_amd")?;
        agent.wait_until("the agent let go of kvm", |metrics| {
            // Three in ccp, three outside modules.
            metrics.sum("guestreq_probe_attached", &[]) == 3.0 + 3.0
        })?;
        host::rmmod("kvm")?;
        host::rmmod("ccp")?;
        agent.wait_until("only the exit's probe and the LSM's are left", |metrics| {
            metrics.sum("guestreq_probe_attached", &[]) == 3.0
        })?;
        let (status, reason) = agent::get("/readyz")?;
        ensure!(status == 503 && reason.contains("ccp is not loaded"), "{status} {reason}");
        for module in ["kvm", "ccp", "kvm-amd"] {
            host::insmod(module, &[])?;
        }
        Firmware::reset()?;
        agent.wait_until("all probes are attached again", |metrics| {
            metrics.select("guestreq_probe_attached", &[]).all(|sample| sample.value == 1.0)
        })?;
        ensure!(agent::get("/readyz")?.0 == 200, "not ready after round {round}");
    }
    load::run("--vms 2 --processes --count 20")?;
    // Seen once, on 6.12.95 and a busy machine, with every request counted. The cause is unknown; a
    // command of ccp's own in the PSP while probes were attached or detached would explain it.
    let answered = assert_exact_but(&agent, &before, "command_unmatched")?;
    ensure!(answered == 160, "{answered} of 160");
    Ok(Status::Passed)
}
