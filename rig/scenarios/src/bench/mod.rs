//! # Measurements
//!
//! `cargo xtask bench` runs them and prints a table. A line `BENCH` carries one JSON object, whose
//! keys are the figures.

mod change;
mod cost;
mod growth;
mod launches;
mod limits;
mod programs;
mod shares;
mod sizes;
mod subjects;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{agent::Agent, host};

/// A part of the benchmark, one boot; `true` measures for longer.
type Part = fn(bool) -> Result<()>;

const PARTS: [(&str, Part); 9] = [
    ("change", change::in_time),
    ("instructions", change::in_instructions),
    ("cost", cost::run),
    ("growth", growth::run),
    ("launches", launches::run),
    ("limits", limits::run),
    ("shares", shares::run),
    ("overload", shares::overload),
    ("programs", sizes::run),
];

pub fn run(part: &str, long: bool) -> Result<()> {
    let Some((_, measure)) = PARTS.iter().find(|(name, _)| *name == part) else {
        bail!("there is no part {part}");
    };
    match host::load_all().and_then(|()| measure(long)) {
        Ok(()) => println!("RIG: ok {part}"),
        Err(error) => {
            println!("RIG: FAILED {part}: {}", format!("{error:#}").replace('\n', " | "));
            println!("{}", Agent::last_log());
        }
    }
    println!("RIG: done 1");
    Ok(())
}

fn report(figures: &Value) {
    println!("BENCH {figures}");
}
