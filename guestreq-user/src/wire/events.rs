//! # The API: events
//!
//! `GET /v1/events` answers the [`Event`]s that match a [`Query`] as JSON lines, with `follow`
//! until the client disconnects. Names of fields and kinds are stable; new ones may be added.

mod describe;
pub mod kind;
mod launched;
mod query;
mod since;
mod time;
mod what;

use serde::{Deserialize, Serialize};

pub use kind::Kind;
pub use launched::{LaunchStages, Launched, PspUser, Work, state_name};
pub use query::{After, Filter, Query};
pub use since::Since;
pub use time::{AgentId, Time};
pub use what::{
    Decided, Ended, EnforcementChanged, EventData, Lost, Message, Overdue, PolicyChanged,
    StageSeconds, VmpckLost,
};

/// `guestreq events -o json`, `GET /v1/events`: one event per line
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// Increases by one per event of an agent. A `lost` event has the id of the last one it stands
    /// for.
    pub id: u64,
    /// Identifies a run of the agent; ids start again with each run.
    pub agent: AgentId,
    /// When it happened.
    pub time: Time,
    /// The same time in ns of CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// Absent if it concerns no VM.
    #[serde(flatten)]
    pub vm: Option<EventVm>,
    /// `kind` and its fields.
    #[serde(flatten)]
    pub what: EventData,
}

/// A VM, named as in `GET /v1/vms`; without a record only `pid` is known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EventVm {
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// The VM's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Absent if the VMM's command line has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Process of the VMM.
    pub pid: u32,
}

impl EventVm {
    /// Its label, or its process if it has none.
    pub fn label_or_pid(&self) -> String {
        self.vm.clone().unwrap_or_else(|| format!("pid {}", self.pid))
    }
}

impl Event {
    pub fn kind(&self) -> Kind {
        self.what.kind()
    }

    /// Its approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let event_vm = self.vm.as_ref();
        let names = event_vm
            .map_or(0, |event_vm| text(&event_vm.vm) + text(&event_vm.name) + text(&event_vm.uuid));
        let more = match &self.what {
            EventData::PolicyChanged(_) => size_of::<PolicyChanged>() + 512,
            EventData::NewVm { vmm } => vmm.len(),
            EventData::Launched(launched) => {
                let users = launched.work.psp_used_by.iter().flatten();
                let names: usize = users.map(|user| 32 + text(&user.vm)).sum();
                size_of::<Launched>() + names + 32
            }
            EventData::Enforcement(EnforcementChanged { reason, .. }) => text(reason),
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
