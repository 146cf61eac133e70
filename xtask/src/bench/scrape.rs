//! # What a scrape of 500 VMs takes, on this machine
//!
//! A test of guestreq's that is left out of the others fills records in memory as the programs
//! would, and reads and renders them with the agent's own code.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build;

const TEST: &str = "metrics::collect::scrape::a_scrape_of_500_vms";

pub fn measure() -> Result<(Vec<Value>, Option<String>)> {
    // As the agent is built: other tests are without optimisation.
    let mut test = build::static_cargo("test");
    test.args(["--package", "guestreq", "--lib", "--", TEST]);
    test.args(["--exact", "--ignored", "--nocapture"]);
    build::step("measure", "scrape", &mut test)?;
    let log = fs::read_to_string(build::log("measure", "scrape"))?;
    // The test's name stands before its first line.
    let lines = log.lines().filter_map(|line| Some(line.split_once("BENCH ")?.1));
    let figures = lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    Ok((figures.collect::<Result<_>>()?, None))
}
