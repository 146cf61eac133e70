//! # promtool: Prometheus's own checker of metrics and rules, from Debian 12

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::Cache;
use crate::say;

const SUITE: &str = "bookworm";

/// The path of promtool.
pub fn ensure(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    let dir = cache.once("promtool", |part| {
        say::step("fetch", "promtool", || {
            let offers = apt.offers("prometheus", |name| name == "prometheus")?;
            let offer = offers
                .iter()
                .find(|offer| offer.suite == SUITE)
                .with_context(|| format!("no package prometheus in {SUITE}"))?;
            let tree = part.join("tree");
            fs::create_dir(&tree)?;
            apt.unpack(&[format!("prometheus={}", offer.version)], &tree)?;
            fs::rename(tree.join("usr/bin/promtool"), part.join("promtool"))?;
            super::cache::remove(&tree)
        })
    })?;
    Ok(dir.join("promtool"))
}
