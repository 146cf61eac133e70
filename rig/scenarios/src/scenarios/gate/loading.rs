//! # Loading the gate
//!
//! What it prevents while it is loaded.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use super::{super::doctor, ensure_all};
use crate::{
    gate::Gate,
    host::{self, Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(FTRACE: "gate/ftrace" = ftrace_stays_on,
    "ftrace cannot be switched off while the gate is loaded");
scenario!(LOADED_TWICE: "gate/loaded_twice" = loaded_twice,
    "a second gate is refused, and the first keeps working");
scenario!(LIVE_PATCH: "gate/live_patch" = live_patch,
    "the gate and a live patch of its function exclude each other, and doctor says so");
scenario!(PINS: "gate/module_references" = pins,
    "the gate keeps kvm and ccp loaded, but not kvm_amd");

fn ftrace_stays_on(_: &Context) -> Result<Status> {
    const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
    let gate = Gate::load(&[])?;
    let refused = fs::write(SWITCH, "0");
    let errno = refused.err().and_then(|error| error.raw_os_error());
    // Since Linux 7 it cannot be switched off at all.
    let refusals = [Some(libc::EBUSY), Some(libc::EOPNOTSUPP)];
    ensure!(refusals.contains(&errno), "switching ftrace off: {errno:?}");
    ensure!(fs::read_to_string(SWITCH)?.trim() == "1", "ftrace is off");
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    Ok(Status::Passed)
}

fn loaded_twice(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let file = gate.get("file")?;
    let Err(error) = host::insmod("guestreq_gate", &[]) else {
        bail!("loaded twice");
    };
    ensure!(format!("{error:#}").contains("exists"), "{error:#}");
    ensure!(gate.get("file")? == file, "the gate's file has changed");
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    Ok(Status::Passed)
}

/// The second one is refused, and the first keeps working.
fn live_patch(_: &Context) -> Result<Status> {
    const MODULE: &str = "rig_livepatch";
    const ENABLED: &str = "/sys/kernel/livepatch/rig_livepatch/enabled";
    let gate = Gate::load(&[])?;
    let Err(error) = host::insmod(MODULE, &[]) else { bail!("it took the gate's place") };
    ensure!(format!("{error:#}").contains("busy"), "{error:#}");
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    gate.remove()?;

    host::insmod(MODULE, &[])?;
    let Err(error) = Gate::load(&[]) else { bail!("the gate took a live patch's place") };
    ensure!(format!("{error:#}").contains("busy"), "{error:#}");
    let report = doctor::DoctorReport::of_enforcing_host()?;
    let found = "rig_livepatch patches sev_issue_cmd_external_user, which the gate hooks";
    report.says("gate_livepatch", "fail", found)?;
    // As doctor suggests.
    report.says("gate_livepatch", "fail", &format!("echo 0 > {ENABLED}"))?;
    fs::write(ENABLED, "0").context(ENABLED)?;
    wait_until("the live patch is gone", Duration::from_secs(60), || Ok(!fs::exists(ENABLED)?))?;
    host::rmmod(MODULE)?;
    Gate::load(&[])?.remove()?;
    Ok(Status::Passed)
}

fn pins(_: &Context) -> Result<Status> {
    if host::is_built_in("ccp") {
        return Ok(Status::Skipped("kvm and ccp are built in, and cannot be removed"));
    }
    let gate = Gate::load(&[])?;
    host::rmmod("kvm_amd")?;
    for module in ["kvm", "ccp"] {
        ensure!(host::rmmod(module).is_err(), "{module} went from under the gate");
    }
    host::insmod("kvm-amd", &[])?;
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    gate.remove()?;

    for module in ["kvm_amd", "kvm", "ccp"] {
        host::rmmod(module)?;
    }
    for module in ["ccp", "kvm"] {
        ensure!(Gate::load(&[]).is_err(), "the gate was loaded without {module}");
        host::insmod(module, &[])?;
    }
    // It does not need kvm_amd.
    let gate = Gate::load(&[])?;
    host::insmod("kvm-amd", &[])?;
    Firmware::reset()?;
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    Ok(Status::Passed)
}
