//! # A module's file

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{doctor::Host, enforce::gate::MODULE, kernel};

/// End of a signed file (kernel/module/signing.c).
const SIGNED: &[u8] = b"~Module signature appended~\n";

pub struct ModuleFile {
    /// The kernel's release and options that it was built for.
    vermagic: String,
    pub signed: bool,
}

impl ModuleFile {
    /// The kernel it was built for.
    pub fn release(&self) -> &str {
        self.vermagic.split(' ').next().unwrap_or_default()
    }

    /// The options, such as `SMP preempt mod_unload modversions`.
    pub fn options(&self) -> &str {
        self.vermagic.split_once(' ').map_or("", |(_, options)| options)
    }
}

/// The gate's file for a kernel, according to depmod.
pub fn installed(host: &Host<'_>, release: &str) -> Option<String> {
    kernel::installed(&host.system, release, MODULE)
}

/// Other kernels with an installed gate.
pub fn elsewhere(host: &Host<'_>) -> Vec<String> {
    let releases = host.system.list("/lib/modules").into_iter();
    releases
        .filter(|release| *release != host.kernel && installed(host, release).is_some())
        .collect()
}

/// Reads a module's file; a compressed one with modinfo(8).
pub fn read(host: &Host<'_>, file: &str) -> Result<ModuleFile> {
    let path: PathBuf = host.system.path(file);
    if !file.ends_with(".ko") {
        let text = host.live.modinfo(&path)?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(|value| value.trim().to_owned())
        };
        let vermagic = field("vermagic").context("modinfo shows no vermagic")?;
        return Ok(ModuleFile { vermagic, signed: field("sig_id").is_some() });
    }
    let bytes = fs::read(&path).with_context(|| file.to_owned())?;
    const VERMAGIC: &[u8] = b"\0vermagic=";
    let at = bytes.windows(VERMAGIC.len()).position(|window| window == VERMAGIC);
    let at = at.with_context(|| format!("{file} has no vermagic"))? + VERMAGIC.len();
    let value: Vec<u8> = bytes[at..].iter().copied().take_while(|byte| *byte != 0).collect();
    let vermagic = String::from_utf8_lossy(&value).trim().to_owned();
    Ok(ModuleFile { vermagic, signed: bytes.ends_with(SIGNED) })
}
