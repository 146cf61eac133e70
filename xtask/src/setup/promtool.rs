//! # promtool: Prometheus's own checker of metrics and rules, from Debian 12

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::Cache;
use crate::say;

const SUITE: &str = "bookworm";

const NAME: &str = "promtool";

/// The path of promtool, if it was fetched before.
pub fn cached(cache: &Cache) -> Option<PathBuf> {
    Some(cache.path(NAME).join(NAME)).filter(|path| path.is_file())
}

/// The path of promtool.
pub fn ensure(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    let dir = cache.once(NAME, |part| {
        say::step("fetch", "promtool", || {
            let offers = apt.offers("prometheus", |name| name == "prometheus")?;
            let offer = offers
                .iter()
                .find(|offer| offer.suite == SUITE)
                .with_context(|| format!("no package prometheus in {SUITE}"))?;
            let tree = part.join("tree");
            fs::create_dir(&tree)?;
            apt.unpack(&[format!("prometheus={}", offer.version)], &tree)?;
            fs::rename(tree.join("usr/bin/promtool"), part.join(NAME))?;
            super::cache::remove(&tree)
        })
    })?;
    Ok(dir.join(NAME))
}
