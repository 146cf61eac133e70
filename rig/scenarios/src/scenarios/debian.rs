//! # A complete Debian host
//!
//! What docs/install.md describes for hosts without Kubernetes, by the commands that it names. The
//! scenarios follow one another on one host, which one of them reboots: only all of them together
//! pass.

mod apt;
mod enforced;
mod installed;
mod removed;
mod upgraded;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent,
    debian::{self, LIMIT, output},
    flash::Script,
    host::{Firmware, kernel, wait_until},
    qemu::Qemu,
    scenario::{Context, Group, Needs, Status, scenario},
};

scenario!(BOOTS: "debian/boots" = boots,
    "Debian's own systemd and udev bring up an SNP host, without a failed unit");

pub const GROUP: Group = Group {
    name: "debian",
    memory_mib: 2048,
    needs: Needs::Debian,
    long: true,
    prepare: debian::prepare,
    scenarios: &[
        BOOTS,
        installed::AGENT,
        installed::GATE,
        enforced::COUNTED,
        enforced::REFUSED,
        upgraded::UPGRADED,
        upgraded::REBOOTED,
        removed::REMOVED,
        removed::PURGED,
    ],
    ..Group::DEFAULT
};

const REPORT: u8 = 5;
const EXPORT: u8 = 7;
/// Five requests a second.
const INTERVAL: Duration = Duration::from_millis(200);
const SERVICE: &str = "guestreq.service";
const MODULE: &str = "/sys/module/guestreq_gate";

fn boots(_: &Context) -> Result<Status> {
    let parameter = "/sys/module/kvm_amd/parameters/sev_snp";
    let snp = fs::read_to_string(parameter).context(parameter)?;
    ensure!(snp.trim() == "Y", "sev_snp is {snp:?}");
    no_failed_unit()?;
    println!("{}", output("systemd-analyze", &["time"])?);
    Ok(Status::Passed)
}

fn no_failed_unit() -> Result<()> {
    let failed = output("systemctl", &["--failed", "--plain", "--no-legend"])?;
    ensure!(failed.is_empty(), "failed units: {failed}");
    Ok(())
}

/// A property of the agent's service.
fn property(name: &str) -> Result<String> {
    let value = output("systemctl", &["show", "--value", "--property", name, SERVICE])?;
    Ok(value.trim().to_owned())
}

/// Waits until systemd's service has an agent that is ready.
fn ready() -> Result<()> {
    wait_until("the agent is ready", LIMIT, || {
        Ok(agent::get("/readyz").is_ok_and(|(status, _)| status == 200))
    })?;
    let state = property("ActiveState")?;
    ensure!(state == "active", "{SERVICE} is {state}");
    Ok(())
}

/// Where DKMS has put the gate for this kernel, if it has.
fn built_gate() -> Result<bool> {
    let folder = format!("/lib/modules/{}/updates/dkms", kernel()?);
    let files = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    Ok(names.any(|name| name.starts_with("guestreq_gate.ko")))
}

fn is_gate_loaded() -> bool {
    Path::new(MODULE).exists()
}

/// A VM that sends a report, which is allowed, and an export, which is not, in turn.
fn alternating(name: &str) -> Result<Qemu> {
    Qemu::start(name, &Script::reports(INTERVAL).requests(&[(REPORT, 0), (EXPORT, 1)]))
}

/// Exports that reached the firmware since then.
fn exports_since(before: &Firmware) -> Result<u64> {
    let messages = Firmware::read()?.since(before).messages;
    Ok(messages.iter().filter(|((kind, _), _)| *kind == EXPORT).map(|(_, count)| count).sum())
}
