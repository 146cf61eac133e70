//! # apt upgrade and a reboot

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{
    MODULE, alternating,
    apt::{apt, candidate, installed, use_repository},
    built_gate, enforced, exports_since, is_gate_loaded, no_failed_unit, property, ready,
};
use crate::{
    agent::{self, cli},
    debian::{self, NEW, output},
    host::{Firmware, kernel},
    scenario::{Context, Status, scenario},
};

scenario!(UPGRADED: "debian/upgraded" = upgraded,
    "apt upgrades agent and gate while a VM runs, and not one denied request passes");
scenario!(REBOOTED: "debian/rebooted" = rebooted,
    "after a reboot systemd loads the new gate before the agent, and the policy is what it was");

fn upgraded(_: &Context) -> Result<Status> {
    ready()?;
    let (old, pid) = (installed("guestreq")?, property("MainPID")?);
    let loaded = fs::read_to_string(format!("{MODULE}/version")).context("the gate's version")?;
    let before = Firmware::read()?;
    let mut vm = alternating("upgraded")?;
    vm.wait_for_answers(3)?;
    use_repository(NEW)?;
    apt(&["upgrade"])?;
    for package in ["guestreq", "guestreq-gate-dkms"] {
        let version = installed(package)?;
        ensure!(version == candidate(package)? && version != old, "{package} is {version}");
    }
    ensure!(property("MainPID")? != pid, "the new agent was not started");
    ready()?;
    vm.wait_for_answers(5)?;
    vm.execute("stop")?;
    let letters = vm.letters()?;
    ensure!(letters == ".I".repeat(letters.len())[..letters.len()], "{letters}");
    let exports = exports_since(&before)?;
    ensure!(exports == 0, "{exports} exports reached the firmware");
    println!("{} requests during the upgrade", letters.len());

    let config = fs::read_to_string("/etc/guestreq/config.toml").context("the configuration")?;
    ensure!(config == enforced::POLICY, "the configuration was replaced");
    let state = output("dkms", &["status", "-m", "guestreq-gate"])?;
    let expected =
        format!("guestreq-gate/{}, {}, x86_64: installed", installed("guestreq")?, kernel()?);
    ensure!(state.trim() == expected && built_gate()?, "dkms: {state}");
    let now = fs::read_to_string(format!("{MODULE}/version")).context("the gate's version")?;
    ensure!(now == loaded, "the gate was replaced under the VM");
    Ok(Status::Passed)
}

fn rebooted(_: &Context) -> Result<Status> {
    const NOTE: &str = "rebooted";
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("boot_id")?;
    let before = debian::noted(NOTE)?;
    if before.is_empty() {
        debian::note(NOTE, &boot)?;
        return debian::reboot().map(|()| Status::Passed);
    }
    ensure!(before != boot, "it has not been rebooted");
    no_failed_unit()?;
    ensure!(is_gate_loaded(), "systemd has not loaded the gate");
    ready()?;
    // No device makes udev load it, and the agent's service may not: it was modules-load.d.
    let aliases = output("modinfo", &["--field", "alias", "guestreq_gate"])?;
    ensure!(aliases.trim().is_empty(), "aliases {aliases}");
    let module = fs::read_to_string(format!("{MODULE}/version")).context("the gate's version")?;
    ensure!(module.trim() == installed("guestreq-gate-dkms")?, "gate {module}");
    const ACTIVE: &str = "ActiveEnterTimestampMonotonic";
    let loaded = since_boot("systemd-modules-load.service", ACTIVE)?;
    let started = since_boot(super::SERVICE, "ExecMainStartTimestampMonotonic")?;
    ensure!(0 < loaded && loaded <= started, "the gate at {loaded} µs, the agent at {started} µs");
    let libvirt = since_boot("libvirtd.service", ACTIVE)?;
    let own = since_boot(super::SERVICE, ACTIVE)?;
    ensure!(own <= libvirt, "the agent at {own} µs, libvirtd at {libvirt} µs");
    enforced::enforces()?;
    ensure!(agent::get("/readyz")?.0 == 200, "not ready");
    println!("{}", cli(&["vms"])?);
    Ok(Status::Passed)
}

/// One of a unit's times, in µs since the boot.
fn since_boot(unit: &str, property: &str) -> Result<u64> {
    let value = output("systemctl", &["show", "--value", "--property", property, unit])?;
    value.trim().parse().with_context(|| format!("{unit}: {value:?}"))
}
