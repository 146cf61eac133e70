//! # What the agent answers

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    client, json,
    wire::{
        Psp, Vms,
        events::Event,
        explain::{self, Explained},
        launches::Launches,
        policy::Policies,
        status::Agent,
    },
};

/// An agent that is slower is not asked any more.
const MOST_TIME: Duration = Duration::from_secs(20);

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

pub struct Events {
    pub all: Vec<Value>,
    pub is_cut: bool,
    /// How many this version does not know.
    pub unknown: usize,
}

/// Answers of the agent, or why there are none.
///
/// Of the fields that this version knows: of others it is not known which have names.
pub struct Answers {
    pub agent: Result<Value>,
    pub vms: Result<Value>,
    pub psp: Result<Value>,
    pub launches: Result<Value>,
    pub policy: Result<Value>,
    /// Those of the first VMs.
    pub explained: Vec<Result<Value>>,
    /// The latest ones.
    pub events: Result<Events>,
    pub metrics: Result<Bounded>,
}

impl Answers {
    /// Asks nothing further once nobody answers, or takes too long.
    pub fn of(socket: &Path) -> Result<Answers> {
        let agent = Asked { socket, until: Instant::now() + MOST_TIME };
        let status = agent.json::<Agent>("/v1/agent")?;
        let vms = agent.json::<Vms>("/v1/vms");
        let labels = vms.as_ref().map_or_else(|_| Vec::new(), labels);
        let explained = labels.iter().take(MOST_EXPLAINED);
        let explained = explained.map(|vm| agent.json::<Explained>(&explain::path(vm)));
        Ok(Answers {
            agent: Ok(status),
            psp: agent.json::<Psp>("/v1/psp"),
            launches: agent.json::<Launches>("/v1/launches"),
            policy: agent.json::<Policies>("/v1/policy"),
            events: agent.events(),
            metrics: agent.text("/metrics", MAX_METRICS),
            explained: explained.collect(),
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

struct Asked<'a> {
    socket: &'a Path,
    until: Instant,
}

impl Asked<'_> {
    fn json<T: DeserializeOwned + Serialize>(&self, path: &str) -> Result<Value> {
        let Bounded { text, is_cut } = self.text(path, MAX_ANSWER)?;
        if is_cut {
            bail!("the answer has more than {} MiB", MAX_ANSWER >> 20);
        }
        known::<T>(&text).context(client::UNEXPECTED)
    }

    /// Whole lines, if there are more bytes.
    fn text(&self, path: &str, most: usize) -> Result<Bounded> {
        if Instant::now() >= self.until {
            bail!("not asked: the agent took more than {} s for the rest", MOST_TIME.as_secs());
        }
        let (bytes, is_cut) = client::get_some(self.socket, path, most)?;
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if is_cut {
            text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        }
        Ok(Bounded { text, is_cut })
    }

    fn events(&self) -> Result<Events> {
        // One more shows whether there are more.
        let path = format!("/v1/events?last={}", MOST_EVENTS + 1);
        let Bounded { text, is_cut } = self.text(&path, MAX_EVENTS)?;
        let lines = text.lines().count();
        let mut all: Vec<Value> =
            text.lines().filter_map(|line| known::<Event>(line).ok()).collect();
        let unknown = lines - all.len();
        let more = all.len().saturating_sub(MOST_EVENTS);
        all.drain(..more);
        Ok(Events { all, is_cut: is_cut || more > 0, unknown })
    }
}

/// The fields of an answer that this version knows.
fn known<T: DeserializeOwned + Serialize>(text: &str) -> serde_json::Result<Value> {
    json::to_value(&serde_json::from_slice::<T>(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_another_version_are_left_out() {
        let text = r#"{"vm": "web", "seconds": 1, "tenant": "acme"}"#;
        let shown = known::<crate::wire::events::PspUser>(text).unwrap();
        assert_eq!(shown, serde_json::json!({"vm": "web", "seconds": 1.0}));
    }

    #[test]
    fn an_agent_that_was_too_slow_is_not_asked_again() {
        let agent = Asked { socket: Path::new("/nonexistent"), until: Instant::now() };
        let error = agent.json::<Vms>("/v1/vms").unwrap_err().to_string();
        assert_eq!(error, "not asked: the agent took more than 20 s for the rest");
    }
}
