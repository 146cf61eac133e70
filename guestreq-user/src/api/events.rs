//! # The API: events
//!
//! `GET /v1/events` answers [`Event`]s, one JSON object a line, as they were
//! recorded, see [`Query`]; with `follow`, for as long as somebody reads. Names of
//! fields and kinds stay as they are; new ones may come.

mod describe;
pub mod kind;
mod query;
mod since;
mod stream;
mod time;
mod what;

use serde::{Deserialize, Serialize};

pub use kind::Kind;
pub use query::{After, Filter, Query};
pub use since::Since;
pub use stream::get_events;
pub use time::{Life, Time};
pub use what::{Decided, Ended, Enforcement, Lost, Message, PolicyChanged, StageSeconds, What};

/// `guestreq events -o json`, `GET /v1/events`: something that happened, each on a line
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// Counts up within an agent's life. What stands in the place of events that are missing has
    /// the number of the last of them.
    pub id: u64,
    /// Which agent's life: another one counts anew.
    pub agent: Life,
    /// When it happened.
    pub time: Time,
    /// The same, in ns of CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// Absent where it is of no VM.
    #[serde(flatten)]
    pub vm: Option<Whom>,
    /// `kind`, and that kind's fields.
    #[serde(flatten)]
    pub what: What,
}

/// A VM, named as in `GET /v1/vms`; of one that has no record only the process is known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Whom {
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
        let whom = self.vm.as_ref();
        let names = whom.map_or(0, |whom| text(&whom.vm) + text(&whom.name) + text(&whom.uuid));
        let more = match &self.what {
            What::PolicyChanged(_) => size_of::<PolicyChanged>() + 512,
            What::NewVm { vmm } => vmm.len(),
            What::Enforcement(Enforcement { reason, .. }) => text(reason),
            What::AgentStarted { version, .. } => version.len(),
            What::ConfigReloaded { files, changed } => {
                files.iter().map(|file| file.len() + 24).sum::<usize>() + changed.len()
            }
            What::ConfigFailed { error } => error.len(),
            _ => 0,
        };
        size_of::<Event>() + names + more
    }
}

#[cfg(test)]
pub mod tests;
