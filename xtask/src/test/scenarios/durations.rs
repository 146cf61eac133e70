//! # How long each boot took the last time
//!
//! Beside its log, for the order in which the next run starts them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::project;

fn path(abi: &str, group: &str) -> PathBuf {
    project::logs().join(format!("{abi}-{group}.seconds"))
}

/// None if it has not run yet, or what was kept is no number.
pub fn last(abi: &str, group: &str) -> Option<Duration> {
    fs::read_to_string(path(abi, group)).ok()?.trim().parse().ok().map(Duration::from_secs)
}

pub fn keep(abi: &str, group: &str, took: Duration) -> Result<()> {
    let path = path(abi, group);
    fs::write(&path, format!("{}\n", took.as_secs()))
        .with_context(|| format!("cannot write {}", path.display()))
}
