//! # The VMM of real guests in the rig: Debian's QEMU
//!
//! The same program that emulates the rig's machine, in the version of the toolroot.

use std::path::PathBuf;

use anyhow::Result;

use super::libraries;
use super::toolroot::Toolroot;

const PROGRAM: &str = "usr/bin/qemu-system-x86_64";
/// QEMU loads it into every guest that has an APIC.
const ROM: &str = "usr/share/qemu/kvmvapic.bin";

/// Files of a rig with QEMU: their paths in the guest and here.
pub fn files(tools: &Toolroot) -> Result<Vec<(String, PathBuf)>> {
    let mut files = vec![PROGRAM.to_owned(), ROM.to_owned()];
    let libraries = libraries::of(PROGRAM, &tools.path)?;
    files.extend(libraries.iter().map(|name| format!("{}/{name}", libraries::FOLDER)));
    Ok(files.into_iter().map(|file| (file.clone(), tools.path.join(file))).collect())
}
