//! # audit: dependencies
//!
//! Checks licences, advisories, duplicate versions and sources by cargo-deny and deny.toml, and
//! that the lockfiles are current. `cargo xtask image` lists what the binary contains.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{build, process, progress, project};

/// The workspaces, each with a lockfile.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

/// cargo-deny's message without a database of advisories.
const NO_DATABASE: &str = "failed to fetch advisory database";

pub fn execute() -> Result<()> {
    for manifest in WORKSPACES {
        let mut cargo = process::cargo("metadata");
        cargo.args(["--locked", "--format-version", "1", "--manifest-path", manifest]);
        build::step("audit", &format!("lockfile of {manifest}"), &mut cargo)?;
    }
    if !process::is_installed("cargo-deny") {
        bail!("cargo-deny is not installed: `cargo install --locked cargo-deny`");
    }
    for manifest in WORKSPACES {
        let what = format!("licences, duplicates and sources of {manifest}");
        build::step("audit", &what, &mut deny(manifest, &["bans", "licenses", "sources"]))?;
    }
    for manifest in WORKSPACES {
        advisories(manifest)?;
    }
    Ok(())
}

/// Advisories are fetched; without them the result is unknown.
fn advisories(manifest: &str) -> Result<()> {
    let what = format!("advisories of {manifest}");
    let log = build::log("audit", &what);
    let mut unknown = false;
    progress::step("audit", &what, || {
        let result = process::logged(&mut deny(manifest, &["advisories"]), &log);
        let Err(error) = result else { return Ok(()) };
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        unknown = text.contains(NO_DATABASE);
        if unknown { Ok(()) } else { Err(error) }
    })?;
    if unknown {
        progress::note(&format!(
            "not checked: the database of advisories cannot be fetched here ({})",
            log.display()
        ));
    }
    Ok(())
}

fn deny(manifest: &str, checks: &[&str]) -> Command {
    let mut cargo = process::cargo("deny");
    cargo.args(["--manifest-path", manifest, "--config"]);
    cargo.arg(project::root().join("deny.toml")).args(["--locked", "check"]).args(checks);
    cargo
}
