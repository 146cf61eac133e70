//! # Installing with apt

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::{
    apt::{apt, candidate, installed, use_repository},
    built_gate, is_gate_loaded, property, ready,
};
use crate::{
    agent::cli,
    debian::{OLD, output},
    host::kernel,
    privileges::Privileges,
    scenario::{Context, Status, scenario},
};

scenario!(AGENT: "debian/installed" = agent,
    "apt installs the agent, which systemd runs with the unit's privileges and no others");
scenario!(GATE: "debian/gate_built" = gate,
    "apt installs the gate, which DKMS builds and signs for the running kernel");

/// Bits of the capabilities that the unit grants: CHOWN, SYS_PTRACE, SYS_ADMIN, SYS_NICE, SYSLOG,
/// PERFMON and BPF.
const CAPABILITIES: [u32; 7] = [0, 19, 21, 23, 34, 38, 39];

fn agent(_: &Context) -> Result<Status> {
    use_repository(OLD)?;
    apt(&["install", "guestreq"])?;
    ensure!(installed("guestreq")? == candidate("guestreq")?, "not the repository's version");
    ready()?;
    let enabled = output("systemctl", &["is-enabled", super::SERVICE])?;
    ensure!(enabled.trim() == "enabled", "{enabled}");

    let granted = Privileges::of(property("MainPID")?.parse()?)?;
    let unit = Privileges {
        capabilities: BTreeSet::from(CAPABILITIES),
        no_new_privileges: true,
        is_filtered: true,
    };
    ensure!(granted == unit, "{granted:?}");

    let rating = output("systemd-analyze", &["security", "--no-pager", super::SERVICE])?;
    let rating = rating.lines().last().unwrap_or_default();
    // docs/install.md says it.
    ensure!(rating.contains("3.5 "), "{rating}");
    Ok(Status::Passed)
}

fn gate(_: &Context) -> Result<Status> {
    apt(&["install", "guestreq-gate-dkms"])?;
    let version = installed("guestreq-gate-dkms")?;
    let state = output("dkms", &["status", "-m", "guestreq-gate"])?;
    let kernel = kernel()?;
    let expected = format!("guestreq-gate/{version}, {kernel}, x86_64: installed");
    ensure!(state.trim() == expected, "dkms: {state}");
    ensure!(built_gate()?, "the module is not installed");
    let signer = output("modinfo", &["--field", "signer", "guestreq_gate"])?;
    ensure!(!signer.trim().is_empty(), "the module is not signed");
    ensure!(is_gate_loaded(), "the package has not loaded it");
    println!("{}", cli(&["doctor"])?);
    Ok(Status::Passed)
}
