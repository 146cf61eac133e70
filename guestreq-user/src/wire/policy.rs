//! # The API: policies
//!
//! `GET /v1/policy` is [`Policies`]. `PUT /v1/policy` takes a [`Request`] and answers [`Changed`],
//! `PUT /v1/policy/applied` takes an [`Apply`] and answers [`Applied`]. Errors are a
//! [`super::Failure`] with status 400 (invalid request), 403 (not root), 404 (no such VM), 409
//! (refused), 500 (not saved, nothing changed) or 503 (the agent observes nothing).

mod change;
mod effective;
mod explain;
mod file;
mod glob;
mod limit;
mod names;
mod rate;
mod rule;
#[cfg(test)]
pub mod schema;
mod share;
mod weight;

use std::collections::BTreeMap;

pub use guestreq_common::policy::{AfterDenial, Backend, Mode};
use serde::{Deserialize, Serialize};

pub use change::{Apply, Change, Difference, Request, Target};
pub use effective::{Effective, Level, Origin, Setting, Stamp};
pub use explain::{RuleResult, Sets};
pub use file::{Located, LocatedRule, PolicyFile, Source};
pub use glob::Glob;
pub use limit::{Limit, RateLimit, ShareLimit, Throttle};
pub use names::{Name, Named, Types};
pub use rate::Rate;
pub use rule::{Match, Rule};
pub use share::{Burst, Share, ShareBurst};
pub use weight::Weight;

/// `guestreq policy show -o json`, `guestreq limit show -o json`, `GET /v1/policy`
#[derive(Debug, Deserialize, Serialize)]
pub struct Policies {
    pub enforcement: Enforcement,
    pub config: Configuration,
    /// For VMs that no rule and no override sets.
    pub default: Effective,
    pub vms: Vec<VmPolicy>,
    /// VMs with overrides that are not running, by name.
    pub absent: BTreeMap<String, Effective>,
    /// The configuration's, in the order in which they are evaluated.
    pub rules: Vec<LocatedRule>,
}

/// State of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Configuration {
    /// In the order in which they are read.
    pub files: Vec<String>,
    /// Time of the last successful load (RFC 3339).
    pub read_at: String,
    /// The last reload's failure; null if it succeeded.
    pub failed: Option<Failed>,
    /// Changed keys that need a restart of the agent.
    pub pending: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Failed {
    /// Time of the last attempt (RFC 3339).
    pub at: String,
    /// With file, line and column if known.
    pub error: String,
}

/// State of enforcement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Enforcement {
    pub backend: Named<Backend>,
    /// What happens to a vCPU after a disallowed type; null with other backends than vcpu, where
    /// nothing does.
    #[serde(default)]
    pub vcpu_denied: Option<Named<AfterDenial>>,
    /// The strictest of all VMs.
    pub mode: Named<Mode>,
    /// Whether the last self-test succeeded.
    pub verified: bool,
    /// Why it is not verified.
    pub reason: Option<String>,
    /// Requests that bypassed enforcement; null while nothing is observed.
    pub bypassed: Option<u64>,
}

impl Enforcement {
    /// Whether a policy is enforced, and that is verified.
    pub fn enforces(&self) -> bool {
        self.mode.0 == Mode::Enforce && self.verified
    }
}

/// A running VM's policy.
#[derive(Debug, Deserialize, Serialize)]
pub struct VmPolicy {
    /// As in `guestreq vms`.
    pub vm: String,
    /// From the VMM's arguments: a label, not a proof.
    pub name: String,
    /// Empty if not known.
    pub uuid: String,
    #[serde(flatten)]
    pub policy: Effective,
    /// Requests by mode, message type and decision.
    pub decisions: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
}

/// The result of a change.
#[derive(Debug, Deserialize, Serialize)]
pub struct Changed {
    pub target: Target,
    pub old: Effective,
    pub new: Effective,
    pub warnings: Vec<String>,
}

/// The result of applying a policy file.
#[derive(Debug, Deserialize, Serialize)]
pub struct Applied {
    pub changed: Vec<Difference>,
    pub warnings: Vec<String>,
}
