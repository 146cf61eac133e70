//! # Counts that are exact
//!
//! The agent's are held against the firmware's.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use guestreq_common::{message::MessageType, outcome::Outcome};

use crate::{agent::Agent, exposition::Metrics, host::Firmware};

/// Counts by the names that users see.
pub type Counts = BTreeMap<(String, String), u64>;

/// The firmware's counts, named as the agent should name them.
pub fn expected(firmware: &Firmware) -> Counts {
    let mut counts = Counts::new();
    for (&(message, status), count) in &firmware.messages {
        let ret = if status == 0 { 0 } else { -5 };
        let name = Outcome::of_command(ret, status).name();
        let key = (MessageType::of(message).name().to_owned(), name.to_owned());
        *counts.entry(key).or_default() += count;
    }
    counts
}

/// The agent's counts of what the firmware answered, for the whole host or summed over VMs.
pub fn counted(metrics: &Metrics, name: &str) -> Counts {
    let mut counts = Counts::new();
    for sample in metrics.select(name, &[]) {
        let label = |label: &str| sample.labels.get(label).cloned().unwrap_or_default();
        let key = (label("message"), label("result"));
        if sample.value > 0.0 && key.1 != Outcome::HOST_ERROR.name() {
            *counts.entry(key).or_default() += sample.value as u64;
        }
    }
    counts
}

/// The central promise: the agent's counts are the firmware's, by message and result, for the
/// host and summed over the VMs, and nothing was lost.
pub fn assert_exact(agent: &Agent, before: &Firmware) -> Result<u64> {
    assert_exact_but(agent, before, "nothing")
}

/// The same, where one kind of loss is no surprise.
pub fn assert_exact_but(agent: &Agent, before: &Firmware, excused: &str) -> Result<u64> {
    let firmware = Firmware::read()?.since(before);
    let metrics = agent.scrape()?;
    let expected = expected(&firmware);
    for name in ["guestreq_messages_total", "guestreq_requests_total"] {
        let counted = counted(&metrics, name);
        ensure!(counted == expected, "{name} {counted:?}, the firmware {expected:?}");
    }
    let mut lost = losses(&metrics);
    lost.remove(excused);
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let answered: u64 = firmware.messages.values().sum();
    let timed = metrics.sum("guestreq_request_duration_seconds_count", &[]) as u64;
    ensure!(timed == answered, "{timed} durations of {answered} requests");
    Ok(answered)
}

/// What was lost; but for tracepoints' hits, which cost no request's count.
pub fn losses(metrics: &Metrics) -> BTreeMap<String, u64> {
    let samples = metrics.select("guestreq_events_lost_total", &[]);
    samples
        .filter(|sample| sample.value > 0.0 && sample.labels["reason"] != "tracepoint_missed")
        .map(|sample| (sample.labels["reason"].clone(), sample.value as u64))
        .collect()
}
