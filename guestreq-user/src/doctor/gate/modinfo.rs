//! # A module's file, and what it says of itself

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{doctor::Host, enforce::gate::MODULE, kernel};

/// Ends a file that is signed (kernel/module/signing.c).
const SIGNED: &[u8] = b"~Module signature appended~\n";

pub struct ModuleFile {
    /// What the kernel compares with its own: the release that it was built for, and what else.
    vermagic: String,
    pub signed: bool,
}

impl ModuleFile {
    /// The kernel it was built for.
    pub fn release(&self) -> &str {
        self.vermagic.split(' ').next().unwrap_or_default()
    }

    /// The rest, as `SMP preempt mod_unload modversions`.
    pub fn options(&self) -> &str {
        self.vermagic.split_once(' ').map_or("", |(_, options)| options)
    }
}

/// Where depmod has found the gate, for a kernel.
pub fn installed(host: &Host<'_>, release: &str) -> Option<String> {
    kernel::installed(&host.system, release, MODULE)
}

/// Other kernels that it is installed for.
pub fn elsewhere(host: &Host<'_>) -> Vec<String> {
    let releases = host.system.list("/lib/modules").into_iter();
    releases
        .filter(|release| *release != host.kernel && installed(host, release).is_some())
        .collect()
}

/// What the file says; a compressed one through modinfo(8).
pub fn read(host: &Host<'_>, file: &str) -> Result<ModuleFile> {
    let path: PathBuf = host.system.path(file);
    if !file.ends_with(".ko") {
        let text = host.live.modinfo(&path)?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(|value| value.trim().to_owned())
        };
        let vermagic = field("vermagic").context("modinfo tells no vermagic")?;
        return Ok(ModuleFile { vermagic, signed: field("sig_id").is_some() });
    }
    let bytes = fs::read(&path).with_context(|| file.to_owned())?;
    const VERMAGIC: &[u8] = b"\0vermagic=";
    let at = bytes.windows(VERMAGIC.len()).position(|window| window == VERMAGIC);
    let at = at.with_context(|| format!("{file} tells no vermagic"))? + VERMAGIC.len();
    let value: Vec<u8> = bytes[at..].iter().copied().take_while(|byte| *byte != 0).collect();
    let vermagic = String::from_utf8_lossy(&value).trim().to_owned();
    Ok(ModuleFile { vermagic, signed: bytes.ends_with(SIGNED) })
}
