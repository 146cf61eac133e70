//! # Removing and purging with apt

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{alternating, apt::apt, built_gate, is_gate_loaded, no_failed_unit, ready};
use crate::{
    debian::output,
    scenario::{Context, Status, scenario},
    scenarios::takeover::PINS,
};

scenario!(REMOVED: "debian/removed" = removed,
    "apt removes the agent and with it enforcement, and the gate from disk, while a VM runs");
scenario!(PURGED: "debian/purged" = purged,
    "a purge leaves no file, unit, pin or module, but what apt keeps about repositories");

fn removed(_: &Context) -> Result<Status> {
    ready()?;
    let mut vm = alternating("survivor")?;
    vm.wait_for("been denied", |letters| letters.contains(".I.I"))?;
    ensure!(Path::new(PINS).exists(), "nothing is pinned");
    apt(&["remove", "guestreq"])?;
    ensure!(!Path::new(PINS).exists(), "something is still pinned");
    ensure!(!runs("guestreq")?, "an agent still runs");
    let denied = vm.count('I')?;
    vm.wait_for_answers(6)?;
    // The one that was denied while apt ended.
    let after = vm.count('I')?;
    ensure!(after - denied <= 1, "still enforced: {}", vm.letters()?);
    for kept in ["/etc/guestreq/config.toml", "/var/lib/guestreq"] {
        ensure!(Path::new(kept).exists(), "{kept} was removed");
    }

    apt(&["remove", "guestreq-gate-dkms"])?;
    ensure!(!built_gate()?, "the module is still on disk");
    ensure!(is_gate_loaded(), "docs/install.md says that it stays loaded");
    // modprobe no longer finds it.
    output("rmmod", &["guestreq_gate"])?;
    vm.wait_for_answers(4)?;
    vm.execute("stop")?;
    Ok(Status::Passed)
}

/// Whether a process of this name runs.
fn runs(name: &str) -> Result<bool> {
    let processes = fs::read_dir("/proc").context("/proc")?.flatten();
    let mut names =
        processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    Ok(names.any(|comm| comm.trim() == name))
}

fn purged(_: &Context) -> Result<Status> {
    apt(&["purge", "guestreq", "guestreq-gate-dkms"])?;
    let find = ["/", "-xdev", "-iname", "*guestreq*"];
    let found = output("find", &find)?;
    // What apt keeps about repositories and their packages.
    let others = ["/var/lib/apt/", "/var/cache/", "/etc/apt/"];
    let left: Vec<_> =
        found.lines().filter(|path| !others.iter().any(|it| path.starts_with(it))).collect();
    ensure!(left.is_empty(), "left: {left:?}");
    for path in [PINS, "/run/guestreq", super::MODULE] {
        ensure!(!Path::new(path).exists(), "{path} is left");
    }
    no_failed_unit()?;
    Ok(Status::Passed)
}
