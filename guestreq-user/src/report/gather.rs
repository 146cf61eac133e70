//! # What the agent answers

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{client, wire::explain};

/// Longer answers are not the agent's.
const MAX_ANSWER: usize = 32 << 20;
/// Metrics of a thousand VMs are 6 MiB.
const MAX_METRICS: usize = 16 << 20;
/// The latest events.
pub const MOST_EVENTS: usize = 2000;
const MAX_EVENTS: usize = 4 << 20;
/// VMs whose policy is explained.
pub const MOST_EXPLAINED: usize = 50;

/// A text of bounded length.
#[derive(Default)]
pub struct Bounded {
    pub text: String,
    /// Whether there would have been more.
    pub is_cut: bool,
}

/// Answers of the agent, or why there are none.
pub struct Answers {
    pub agent: Result<Value>,
    pub vms: Result<Value>,
    pub psp: Result<Value>,
    pub launches: Result<Value>,
    pub policy: Result<Value>,
    /// Those of the first VMs.
    pub explained: Vec<Result<Value>>,
    /// The latest ones.
    pub events: Result<(Vec<Value>, bool)>,
    pub metrics: Result<Bounded>,
}

impl Answers {
    /// Asks nothing further once nobody answers.
    pub fn of(socket: &Path) -> Result<Answers> {
        let ask = |path: &str| json(socket, path);
        let agent = ask("/v1/agent")?;
        let vms = ask("/v1/vms");
        let labels = vms.as_ref().map_or_else(|_| Vec::new(), labels);
        let explained = labels.iter().take(MOST_EXPLAINED).map(|vm| ask(&explain::path(vm)));
        Ok(Answers {
            agent: Ok(agent),
            psp: ask("/v1/psp"),
            launches: ask("/v1/launches"),
            policy: ask("/v1/policy"),
            explained: explained.collect(),
            events: events(socket),
            metrics: text(socket, "/metrics", MAX_METRICS),
            vms,
        })
    }
}

/// Labels of the VMs of an answer.
pub fn labels(vms: &Value) -> Vec<String> {
    let vms = vms["vms"].as_array().into_iter().flatten();
    vms.filter_map(|vm| Some(vm["vm"].as_str()?.to_owned())).collect()
}

/// Pids of the VMs of an answer.
pub fn pids(vms: &Value) -> Vec<u32> {
    let vms = vms["vms"].as_array().into_iter().flatten();
    vms.filter_map(|vm| u32::try_from(vm["pid"].as_u64()?).ok()).collect()
}

fn json(socket: &Path, path: &str) -> Result<Value> {
    let Bounded { text, .. } = text(socket, path, MAX_ANSWER)?;
    serde_json::from_str(&text).context(client::UNEXPECTED)
}

/// Whole lines, if there are more bytes.
fn text(socket: &Path, path: &str, most: usize) -> Result<Bounded> {
    let (bytes, is_cut) = client::get_some(socket, path, most)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if is_cut {
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    }
    Ok(Bounded { text, is_cut })
}

fn events(socket: &Path) -> Result<(Vec<Value>, bool)> {
    // One more shows whether there are more.
    let path = format!("/v1/events?last={}", MOST_EVENTS + 1);
    let Bounded { text, is_cut } = text(socket, &path, MAX_EVENTS)?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>();
    let mut events: Vec<Value> = events.context(client::UNEXPECTED)?;
    let more = events.len().saturating_sub(MOST_EVENTS);
    events.drain(..more);
    Ok((events, is_cut || more > 0))
}
