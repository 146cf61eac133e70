//! # What limits achieve
//!
//! How many requests a limit admits, and how long a well-behaved VM waits while others send in a
//! loop, with and without a limit.

use anyhow::Result;
use serde_json::json;

use super::report;
use crate::{
    agent::cli,
    enforcing::Enforcing,
    host::Firmware,
    scenarios::limits::{self, SERVICE_US, SaturatingLoad},
};

pub fn run(long: bool) -> Result<()> {
    let load = SaturatingLoad { vms: 16, rate: 10, burst: 4, seconds: if long { 120 } else { 30 } };
    let host = Enforcing::start(&load.limit())?;
    let (admitted, _) = load.run()?;
    report(&json!({
        "admitted": admitted,
        "admitted_expected": load.expected(),
        "admitted_vms": load.vms,
        "admitted_seconds": load.seconds,
    }));
    host.end()?;

    Firmware::set("latency_us", SERVICE_US)?;
    let Enforcing { agent, gate } = Enforcing::start("")?;
    // The p99 of 100 requests is the second worst; of fewer, the worst.
    let requests = if long { 1000 } else { 200 };
    let alone = limits::well_behaved(requests)?;
    let unlimited = limits::with_hammering(if long { 200 } else { 30 })?;
    let rate = limits::quarter_each(&agent)?;
    cli(&["limit", "set", "--default", "--rate", &rate, "--burst", "1"])?;
    cli(&["limit", "set", "--vm", "meek", "--off"])?;
    let limited = limits::with_hammering(requests)?;
    report(&json!({
        "victim_p99_alone_us": alone[1].as_secs_f64() * 1e6,
        "victim_alone_requests": requests,
        "victim_p99_unlimited_us": unlimited[1].as_secs_f64() * 1e6,
        "victim_unlimited_requests": if long { 200 } else { 30 },
        "victim_p99_limited_us": limited[1].as_secs_f64() * 1e6,
        "victim_limited_requests": requests,
    }));
    cli(&["limit", "clear", "--default"])?;
    cli(&["limit", "clear", "--vm", "meek"])?;
    Firmware::reset()?;
    Enforcing { agent, gate }.end()?;
    Ok(())
}
