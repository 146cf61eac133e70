//! # Kinds of events

use std::fmt;

use clap::ValueEnum;

use super::EventData;

/// What an event tells; the names are those of `kind` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// Any request, with --all
    Request,
    /// A request took longer than `slow_request`
    Slow,
    /// A sequence number that was used before
    Replay,
    /// A sequence number that skips others
    Gap,
    /// The host failed, the PSP gave no answer
    HostError,
    /// A disallowed type was refused
    Denied,
    /// The first of a row of requests over the limit
    Throttled,
    /// The first admitted one after such a row
    Unthrottled,
    /// A request passed that should have been decided
    Bypassed,
    /// A VM is seen for the first time
    NewVm,
    /// A VM's guest context was decommissioned
    ExitedVm,
    /// Somebody changed what VMs may ask for
    PolicyChanged,
    /// What is to be enforced is, or is not
    Enforcement,
    /// The agent started
    AgentStarted,
    /// Something cannot be told
    Lost,
    /// Changed files of the configuration hold
    ConfigReloaded,
    /// Changed files of the configuration are wrong
    ConfigFailed,
}

impl Kind {
    pub fn name(self) -> String {
        // None is hidden, so that each has a value.
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The kind of that name, or what there is.
    pub fn named(name: &str) -> Result<Kind, String> {
        <Kind as ValueEnum>::from_str(name, false).map_err(|_| {
            let names: Vec<_> = Kind::value_variants().iter().map(|kind| kind.name()).collect();
            format!("unknown kind {name:?}: there are {}", names.join(", "))
        })
    }

    /// Whether a guest can provoke it at will: logged at a bounded rate.
    pub fn is_about_a_guest(self) -> bool {
        use Kind::{
            Bypassed, Denied, Gap, HostError, Lost, Replay, Request, Slow, Throttled, Unthrottled,
        };
        matches!(
            self,
            Request
                | Slow
                | Replay
                | Gap
                | HostError
                | Denied
                | Throttled
                | Unthrottled
                | Bypassed
                | Lost
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl EventData {
    pub fn kind(&self) -> Kind {
        match self {
            EventData::Request(_) => Kind::Request,
            EventData::Slow(_) => Kind::Slow,
            EventData::Replay(_) => Kind::Replay,
            EventData::Gap(_) => Kind::Gap,
            EventData::HostError(_) => Kind::HostError,
            EventData::Denied(_) => Kind::Denied,
            EventData::Throttled(_) => Kind::Throttled,
            EventData::Unthrottled(_) => Kind::Unthrottled,
            EventData::Bypassed(_) => Kind::Bypassed,
            EventData::NewVm { .. } => Kind::NewVm,
            EventData::ExitedVm {} => Kind::ExitedVm,
            EventData::PolicyChanged(_) => Kind::PolicyChanged,
            EventData::Enforcement(_) => Kind::Enforcement,
            EventData::AgentStarted { .. } => Kind::AgentStarted,
            EventData::Lost(_) => Kind::Lost,
            EventData::ConfigReloaded { .. } => Kind::ConfigReloaded,
            EventData::ConfigFailed { .. } => Kind::ConfigFailed,
        }
    }
}
