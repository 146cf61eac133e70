//! # Kinds of events

use std::fmt;

use clap::ValueEnum;

use super::EventData;

/// Kinds, named as `kind` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// Any request, with --all
    Request,
    /// A request took longer than `slow_request`
    Slow,
    /// A sequence number was reused
    Replay,
    /// Sequence numbers were skipped
    Gap,
    /// The host failed the request without an answer of the PSP
    HostError,
    /// A request of a disallowed type was refused
    Denied,
    /// A VM exceeded its limit
    Throttled,
    /// A VM is below its limit again
    Unthrottled,
    /// A message over the limit was admitted, because it had waited for 30 s
    Rescued,
    /// A guest has probably wiped a VMPCK: its message was denied, or got BUSY for 60 s
    VmpckLost,
    /// A request bypassed enforcement
    Bypassed,
    /// A new VM
    NewVm,
    /// A VM's guest context was decommissioned
    ExitedVm,
    /// A policy was changed by the command line
    PolicyChanged,
    /// Enforcement works, or does not
    Enforcement,
    /// The agent started
    AgentStarted,
    /// Events or observations were lost
    Lost,
    /// The configuration was reloaded
    ConfigReloaded,
    /// Reloading the configuration failed
    ConfigFailed,
    /// A VM's launch has ended: finished, failed, abandoned or process_exited
    Launched,
    /// Requests went to the PSP without a slot, because the gate's order stood still for 10 s
    Overdue,
}

impl Kind {
    pub fn name(self) -> String {
        // No variant is hidden: each has a value.
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The kind of that name, or an error that lists all names.
    pub fn named(name: &str) -> Result<Kind, String> {
        <Kind as ValueEnum>::from_str(name, false).map_err(|_| {
            let names: Vec<_> = Kind::value_variants().iter().map(|kind| kind.name()).collect();
            format!("unknown kind {name:?}: there are {}", names.join(", "))
        })
    }

    /// Whether guests can cause it at will: logged at a bounded rate.
    pub fn is_about_a_guest(self) -> bool {
        use Kind::{
            Bypassed, Denied, Gap, HostError, Launched, Lost, Replay, Request, Rescued, Slow,
            Throttled, Unthrottled, VmpckLost,
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
                | Rescued
                | VmpckLost
                | Bypassed
                | Launched
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
            EventData::Rescued(_) => Kind::Rescued,
            EventData::VmpckLost(_) => Kind::VmpckLost,
            EventData::Bypassed(_) => Kind::Bypassed,
            EventData::NewVm { .. } => Kind::NewVm,
            EventData::ExitedVm {} => Kind::ExitedVm,
            EventData::Launched(_) => Kind::Launched,
            EventData::Overdue(_) => Kind::Overdue,
            EventData::PolicyChanged(_) => Kind::PolicyChanged,
            EventData::Enforcement(_) => Kind::Enforcement,
            EventData::AgentStarted { .. } => Kind::AgentStarted,
            EventData::Lost(_) => Kind::Lost,
            EventData::ConfigReloaded { .. } => Kind::ConfigReloaded,
            EventData::ConfigFailed { .. } => Kind::ConfigFailed,
        }
    }
}
