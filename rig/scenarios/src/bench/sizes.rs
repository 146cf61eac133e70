//! # How large programs are

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{programs, report, subjects::MeasuredAgent};

/// Only the sizes of our programs, in less than a minute.
pub fn run(_: bool) -> Result<()> {
    let start = Instant::now();
    let agent = MeasuredAgent::start()?;
    report(&json!({ "emulated_start_ms": start.elapsed().as_secs_f64() * 1e3 }));
    instructions("guestreq", &agent.ids)
}

/// Sizes of programs and how many helpers they call.
pub fn instructions(whose: &str, ids: &BTreeSet<u32>) -> Result<()> {
    let all = programs::all(ids)?;
    ensure!(!all.is_empty(), "{whose} has no programs");
    for program in all {
        report(&json!({ "program": {
            "whose": whose, "name": program.name, "id": program.id, "jited_bytes": program.jited,
            "verified_instructions": program.verified, "calls": program.calls,
        }}));
    }
    Ok(())
}
