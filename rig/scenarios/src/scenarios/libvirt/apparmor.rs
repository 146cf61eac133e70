//! # AppArmor's profiles of domains

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{CONFINED_NAME, INTERVAL, shown};
use crate::{
    debian::output,
    flash::Script,
    libvirt::{Domain, forbid_sev, permit_sev},
    scenario::{Context, Status, scenario},
};

scenario!(CONFINED: "libvirt/confined" = confined,
    "a domain in machined's scope and AppArmor's svirt profile is observed and named");
scenario!(SHIPPED: "libvirt/shipped_profile" = shipped,
    "Debian's AppArmor profile refuses SNP domains, and its helper some names, as docs say");

fn confined(_: &Context) -> Result<Status> {
    let domain = Domain::start(CONFINED_NAME, &Script::reports(INTERVAL))?;
    domain.wait_for_answers(3)?;
    let pid = domain.pid()?;
    let of_process = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).context(path)
    };
    let profile = of_process("attr/apparmor/current")?;
    let expected = format!("libvirt-{} (enforce)", domain.uuid);
    ensure!(profile.trim() == expected, "AppArmor: {profile}");
    let cgroup = of_process("cgroup")?;
    ensure!(cgroup.contains("/machine.slice/machine-qemu\\x2d"), "cgroup {cgroup}");
    let machines = output("machinectl", &["list", "--no-legend"])?;
    ensure!(machines.contains("qemu"), "machines: {machines}");
    println!("{cgroup}{machines}");
    let vm = shown(&domain)?;
    ensure!(vm["vm"] == CONFINED_NAME, "{vm}");
    domain.end()?;
    Ok(Status::Passed)
}

/// Characters that virt-aa-helper refuses in names; libvirt itself refuses `/`.
const REFUSED: &str = "\",*?^[]{}";

fn shipped(_: &Context) -> Result<Status> {
    let script = Script::reports(INTERVAL);
    // Why a domain of this name does not start.
    let refusal = |name: &str| Domain::start(name, &script).err().map(|error| format!("{error:#}"));
    forbid_sev()?;
    let why = refusal("shipped");
    permit_sev()?;
    println!("/dev/sev: {why:?}");
    let expected = "Failed to open /dev/sev 'Permission denied'";
    ensure!(why.is_some_and(|why| why.contains(expected)), "it is not refused the PSP's device");
    for character in REFUSED.chars() {
        let name = format!("a{character}b");
        let why = refusal(&name);
        println!("{name}: {why:?}");
        let expected = "cannot load AppArmor profile";
        ensure!(why.is_some_and(|why| why.contains(expected)), "{name} is not refused");
    }
    Ok(Status::Passed)
}
