//! # A scrape of 500 VMs on this machine
//!
//! An ignored test of guestreq fills records in memory as the programs would, then reads and
//! renders them with the agent's code.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::build;

const TEST: &str = "metrics::collect::scrape::a_scrape_of_500_vms";

pub fn measure() -> Result<(Vec<Value>, Option<String>)> {
    // Optimized like the agent, unlike other tests.
    let mut test = build::static_cargo("test");
    test.args(["--package", "guestreq", "--lib", "--", TEST]);
    test.args(["--exact", "--ignored", "--nocapture"]);
    build::step("measure", "scrape", &mut test)?;
    let log = fs::read_to_string(build::log("measure", "scrape"))?;
    // The test's name precedes its first line.
    let lines = log.lines().filter_map(|line| Some(line.split_once("BENCH ")?.1));
    let figures = lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    Ok((figures.collect::<Result<_>>()?, None))
}
