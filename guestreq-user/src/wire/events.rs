//! # The API: events
//!
//! `GET /v1/events` answers [`Event`]s, one JSON object a line, as they were
//! recorded, see [`Query`]; with `follow`, for as long as somebody reads. Names of
//! fields and kinds stay as they are; new ones may come.

mod describe;
pub mod kind;
mod query;
mod since;
mod time;
mod what;

use serde::{Deserialize, Serialize};

pub use kind::Kind;
pub use query::{After, Filter, Query};
pub use since::Since;
pub use time::{AgentId, Time};
pub use what::{
    Decided, Ended, Enforcement, EventData, Lost, Message, PolicyChanged, StageSeconds,
};

/// `guestreq events -o json`, `GET /v1/events`: something that happened, each on a line
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// Counts up within an agent's life. What stands in the place of events that are missing has
    /// the number of the last of them.
    pub id: u64,
    /// Which agent's life: another one counts anew.
    pub agent: AgentId,
    /// When it happened.
    pub time: Time,
    /// The same, in ns of CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// Absent where it is of no VM.
    #[serde(flatten)]
    pub vm: Option<EventVm>,
    /// `kind`, and that kind's fields.
    #[serde(flatten)]
    pub what: EventData,
}

/// A VM, named as in `GET /v1/vms`; of one that has no record only the process is known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EventVm {
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// As its VMM was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Absent where its VMM was given none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its VMM's process.
    pub pid: u32,
}

impl Event {
    pub fn kind(&self) -> Kind {
        self.what.kind()
    }

    /// How much memory it takes, about.
    pub fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let event_vm = self.vm.as_ref();
        let names = event_vm
            .map_or(0, |event_vm| text(&event_vm.vm) + text(&event_vm.name) + text(&event_vm.uuid));
        let more = match &self.what {
            EventData::PolicyChanged(_) => size_of::<PolicyChanged>() + 512,
            EventData::NewVm { vmm } => vmm.len(),
            EventData::Enforcement(Enforcement { reason, .. }) => text(reason),
            EventData::AgentStarted { version, .. } => version.len(),
            EventData::ConfigReloaded { files, changed } => {
                files.iter().map(|file| file.len() + 24).sum::<usize>() + changed.len()
            }
            EventData::ConfigFailed { error } => error.len(),
            _ => 0,
        };
        size_of::<Event>() + names + more
    }
}

#[cfg(test)]
pub mod tests;
