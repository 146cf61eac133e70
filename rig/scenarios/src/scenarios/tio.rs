//! # SEV-TIO
//!
//! SEV-TIO guest requests reach the PSP by the VMM's ioctl(2), past the gate.

use anyhow::{Result, ensure};
use guestreq_common::command::TIO_GUEST_REQUEST;

use crate::{
    agent::{cli, vm_named},
    enforcing::Enforcing,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(UNDECIDED: "tio/undecided" = undecided,
    "SEV-TIO requests pass whatever the policy, and are counted by name and VM");

fn undecided(_: &Context) -> Result<Status> {
    // No SEV-TIO type is among these.
    let enforcing = Enforcing::start("allow = [\"report\"]\n")?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name devices --tio 7 --count 3")?;
    load::run("--vmm qemu --name none --count 2")?;
    let firmware = Firmware::read()?.since(&before);
    let reached = firmware.count(TIO_GUEST_REQUEST);
    ensure!(reached == 7, "{reached} of 7 reached the PSP");

    let metrics = enforcing.agent.scrape()?;
    let count = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
    let commands = count("guestreq_psp_commands_total", &[("command", "tio_guest_request")]);
    ensure!(commands == 7.0, "{commands} of 7 by name");
    let all = count("guestreq_vm_tio_requests_total", &[]);
    let of_devices = count("guestreq_vm_tio_requests_total", &[("vm", "devices")]);
    ensure!((all, of_devices) == (7.0, 7.0), "{of_devices} of 7 are the VM's, {all} are some VM's");
    let seconds = |vm| count("guestreq_vm_psp_seconds_total", &[("vm", vm), ("class", "other")]);
    ensure!(seconds("devices") > seconds("none"), "the PSP's time is not its VM's");
    // They are not guest requests, which are counted and decided as usual.
    let requests = count("guestreq_requests_total", &[("vm", "devices")]);
    let decisions = count("guestreq_decisions_total", &[("vm", "devices")]);
    ensure!((requests, decisions) == (3.0, 3.0), "{requests} requests, {decisions} decisions");
    let bypassed = count("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} count as bypassed, though they are never decided");

    let vm = vm_named("devices")?;
    ensure!(vm["tio_requests"] == 7, "{vm}");
    let table = cli(&["vms"])?;
    ensure!(table.contains("report 3, tio_guest_request 7"), "{table}");
    println!("{table}");
    enforcing.end()
}
