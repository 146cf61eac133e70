//! # cargo-mutants

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::cache::{self, Cache};
use crate::{process, progress};

const VERSION: &str = "27.1.0";

/// The program; built if it is missing.
pub fn ensure(cache: &Cache) -> Result<PathBuf> {
    let dir = cache.once(format!("cargo-mutants-{VERSION}"), |part| {
        progress::step("install", &format!("cargo-mutants {VERSION}"), || {
            let mut install = process::cargo("install");
            install.args(["cargo-mutants", "--locked", "--version", VERSION, "--root"]).arg(part);
            install.arg("--target-dir").arg(part.join("target"));
            process::logged(&mut install, &cache.log("cargo-mutants.log"))
                .with_context(|| format!("cannot install cargo-mutants {VERSION}"))?;
            cache::remove(&part.join("target"))
        })
    })?;
    Ok(dir.join("bin/cargo-mutants"))
}
