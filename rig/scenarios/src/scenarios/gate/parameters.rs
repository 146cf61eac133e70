//! # The gate's parameters
//!
//! Who may read and set them. What capabilities change in that is in `capabilities`.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    attacker,
    gate::{Gate, GateCounts},
    scenario::{Context, Status, scenario},
};

scenario!(PARAMETERS: "gate/parameters" = parameters,
    "only root reads the gate's secrets, and its counters cannot be set");
scenario!(ATTACKER: "gate/attacker" = attacker,
    "an unprivileged process learns nothing from the gate alone");

fn parameters(_: &Context) -> Result<Status> {
    // Read-only parameters cannot be set when loading, either.
    for lie in [
        "protocol=2",
        "protocol_newest=1",
        "file=1",
        "cookie=1",
        "admitted=1",
        "unanswered=9",
        "self_test=1",
        "order=1",
        "depth=-1",
        "launch_share=101",
    ] {
        let loaded = Gate::load(&[lie]);
        ensure!(loaded.is_err(), "loaded with {lie}");
    }
    let gate = Gate::load(&[])?;
    // An agent of protocol 1 reads "protocol" only.
    for (name, value) in [("protocol", "1"), ("protocol_newest", "2"), ("depth", "1")] {
        ensure!(gate.get(name)? == value, "{name} {:?}", gate.get(name)?);
    }
    let version = fs::read_to_string("/sys/module/guestreq_gate/version").context("version")?;
    ensure!(version.trim_end() == "0.1.0", "version {version:?}");
    let file = gate.get("file")?;
    ensure!(file.starts_with("0xffff") && file.len() == 18, "file {file:?}");
    let cookie = gate.get("cookie")?;
    ensure!(cookie.starts_with("0x") && cookie.len() > 12, "cookie {cookie:?}");
    for (name, readable) in [
        ("protocol", true),
        ("protocol_newest", true),
        ("depth", true),
        ("launch_share", true),
        ("order", false),
        ("admitted", false),
        ("denied", false),
        ("busy", false),
        ("unanswered", false),
        ("file", false),
        ("cookie", false),
        ("closed", false),
        ("self_test", false),
    ] {
        let mut cat = Command::new("/bin/cat");
        let output = attacker::nobody(cat.arg(Gate::path(name))).output().context("cat")?;
        ensure!(output.status.success() == readable, "{name} for nobody: {output:?}");
    }
    gate.remove()?;
    let gate = Gate::load(&[])?;
    ensure!(gate.get("cookie")? != cookie, "the same cookie twice");
    Ok(Status::Passed)
}

fn attacker(_: &Context) -> Result<Status> {
    let without = attacker::transcript()?;
    ensure!(without.lines().count() > 100, "the attacker was short: {without}");
    let gate = Gate::load(&[])?;
    let with = attacker::transcript()?;
    ensure!(with == without, "with the gate: {with}");
    ensure!(gate.counts()? == GateCounts::default(), "{:?}", gate.counts()?);
    ensure!(gate.get("self_test")? == "none", "{:?}", gate.get("self_test"));
    Ok(Status::Passed)
}
