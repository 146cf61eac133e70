//! # The VMMs of real guests in the rig: Debian's QEMUs
//!
//! The toolroot's, which also emulates the rig's machine, and the newest in trixie-backports: only the
//! program, with the toolroot's libraries and data. And OVMF, trixie's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::Cache;
use super::libraries;
use super::matrix::{until_the_index_changes, version_key};
use super::toolroot::Toolroot;
use crate::progress;

const PROGRAM: &str = "usr/bin/qemu-system-x86_64";
/// QEMU loads it into every guest that has an APIC.
const ROM: &str = "usr/share/qemu/kvmvapic.bin";

const QEMU: &str = "qemu-system-x86";
const OVMF: &str = "ovmf";
const FIRMWARE: &str = "usr/share/ovmf/OVMF.fd";
/// Where the rig has the newer one: not where a package installs it.
const NEWER_IN_GUEST: &str = "opt/qemu/bin/qemu-system-x86_64";

/// The toolroot's QEMU: paths in the guest and here.
pub fn of_toolroot(tools: &Toolroot) -> Result<Vec<(String, PathBuf)>> {
    Ok(with_libraries(tools, libraries::of(PROGRAM, &tools.path)?))
}

/// The same, the newer QEMU and OVMF.
pub fn all(cache: &Cache, apt: &Apt, tools: &Toolroot) -> Result<Vec<(String, PathBuf)>> {
    let newer = newest(cache, apt, QEMU, "trixie-backports")?.join(PROGRAM);
    let ovmf = newest(cache, apt, OVMF, "trixie")?.join(FIRMWARE);
    let mut libraries = libraries::of(PROGRAM, &tools.path)?;
    libraries.extend(libraries::of_other(&newer, tools)?);
    let mut files = with_libraries(tools, libraries);
    files.extend([(NEWER_IN_GUEST.to_owned(), newer), (FIRMWARE.to_owned(), ovmf)]);
    Ok(files)
}

fn with_libraries(tools: &Toolroot, mut libraries: Vec<String>) -> Vec<(String, PathBuf)> {
    libraries.sort_unstable();
    libraries.dedup();
    let mut files = vec![PROGRAM.to_owned(), ROM.to_owned()];
    files.extend(libraries.iter().map(|name| format!("{}/{name}", libraries::FOLDER)));
    files.into_iter().map(|file| (file.clone(), tools.path.join(file))).collect()
}

/// A tree with the newest version of a package in a suite.
fn newest(cache: &Cache, apt: &Apt, package: &str, suite: &str) -> Result<PathBuf> {
    let version = until_the_index_changes(cache, apt, &format!("{package}-{suite}"), || {
        let mut offers = apt.offers(package, |name| name == package)?;
        offers.retain(|offer| offer.suite == suite);
        let newest = offers.into_iter().max_by_key(|offer| version_key(&offer.version));
        Ok(newest.with_context(|| format!("no {package} in {suite}"))?.version)
    })?;
    let wanted = format!("{package}={version}");
    // A colon separates paths in many places.
    let name = format!("{package}-{}", version.replace(':', "_"));
    cache.once(Path::new(&name), |part| {
        progress::step(package, &version, || apt.unpack(std::slice::from_ref(&wanted), part))
    })
}
