//! # Packages that the machine itself needs

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::cache::Cache;
use crate::{process, progress};

/// A program or file, and its Debian package.
const RIG: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("dpkg", "dpkg"),
    ("mmdebstrap", "mmdebstrap"),
    ("chroot", "coreutils"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    (super::mirrors::KEYRING, "debian-archive-keyring"),
];

const INSTEAD: &str = "`cargo xtask test --no-rig` does without it";

pub fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|me| me.uid() == 0)
}

/// Installs what the rig's setup needs.
pub fn ensure_rig(cache: &Cache) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("the rig runs on x86_64 Linux only; {INSTEAD}");
    }
    if !is_root() {
        bail!("the rig makes a chroot and mounts in it: run this as root; {INSTEAD}");
    }
    let have = |what: &str| match what.starts_with('/') {
        true => Path::new(what).exists(),
        false => process::is_installed(what),
    };
    let missing: Vec<_> = RIG.iter().filter(|(what, _)| !have(what)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let packages = packages.join(" ");
    if !have("apt-get") || !have("dpkg") {
        bail!(
            "the rig takes kernels from Debian's archive with apt and dpkg, and this system lacks \
             {packages} (Debian's names): use a Debian 12 or later; {INSTEAD}"
        );
    }
    progress::step("install", &packages, || install(cache, &packages))
}

/// Installs pip unless the machine has it.
pub fn ensure_pip(cache: &Cache) -> Result<()> {
    let has = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if has.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    if !is_root() || !process::is_installed("apt-get") {
        bail!("pip for Python 3 is missing: install it (Debian: python3-pip); {INSTEAD}");
    }
    progress::step("install", "python3-pip", || install(cache, "python3-pip"))
}

fn install(cache: &Cache, packages: &str) -> Result<()> {
    let log = cache.log("apt-install.log");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        process::logged(&mut command, &log)
    };
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages.split(' '));
    // A new machine has no package lists, and an old one has outdated lists.
    let result = apt(&arguments).or_else(|_| apt(&["update"]).and_then(|()| apt(&arguments)));
    result.map_err(|error| error.context(format!("cannot apt-get install {packages}")))
}
