//! # The demo
//!
//! A handful of VMs with different behavior, two of them launched by Debian's QEMU, and what their
//! host's operator sees.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    agent::{Agent, cli},
    bridge,
    flash::Script,
    host::{self, Firmware},
    load,
    qemu::Qemu,
};

/// Three quiet VMs. The demo has two of them, which QEMU launches.
const WEB: &str = "--vmm qemu --name web --vms 3 --rate 1 --type report";
const QEMUS: [&str; 2] = ["web-0", "web-1"];

/// The VMs and their behavior.
pub const GUESTS: [&str; 6] = [
    WEB,
    "--vmm qemu --name batch --burst 20 --pause 4000 --type report,key",
    "--vmm cloud-hypervisor --name greedy --vcpus 4 --vmpck all --type report",
    "--vmm firecracker --name confused --rate 2 --type report,export,26",
    "--vmm qemu --name replayer --rate 1 --fault replay:3",
    "--vmm qemu --name certs --rate 1 --extended",
];

/// What a launch measures: 1 MiB of firmware.
const PAGES: &str = "--pages 256";

/// Launched again and again, as by an orchestrator of short-lived guests. Each launch waits behind
/// the others' requests, page by page.
const SHORT_LIVED: &str = "--vmm qemu --name short-lived --count 4 --rate 0.2 --relaunch-for 86400";

/// The agent's socket over TCP in a live demo.
const BRIDGE: &str = "0.0.0.0:9941";

/// `live`: the agent is watched from outside, and nothing is printed.
pub fn run(live: bool) -> Result<()> {
    host::load_all()?;
    Firmware::as_published()?;
    // Runs until this is dropped.
    let _agent = Agent::start(&["--listen", "0.0.0.0:9940"])?;
    if live {
        bridge::start(BRIDGE, "/run/guestreq/agent.sock")?;
    }
    println!("\nAn SNP host with {} kinds of guests; the agent is attached.", GUESTS.len() + 1);
    let script = Script::reports(Duration::from_secs(1));
    // First, as they are launched page by page beside the others.
    let qemus = QEMUS.map(|name| Qemu::start(name, &script));
    let mut qemus = qemus.into_iter().collect::<Result<Vec<_>>>()?;
    let mut loads = Vec::new();
    for guests in GUESTS.into_iter().filter(|guests| *guests != WEB) {
        loads.push(load::start(&format!("{guests} {PAGES} --seconds 86400"))?);
    }
    loads.push(load::start(&format!("{SHORT_LIVED} {PAGES}"))?);
    loop {
        thread::sleep(Duration::from_secs(5));
        if !live {
            let (vms, psp) = (cli(&["vms"])?, cli(&["psp"])?);
            println!("\n# guestreq vms\n{vms}\n# guestreq psp\n{psp}");
        }
        for load in &mut loads {
            ensure!(load.is_running()?, "a guest has ended");
        }
        for qemu in &mut qemus {
            let status = qemu.status()?;
            ensure!(status == "running", "{} is {status}", qemu.name);
        }
    }
}
