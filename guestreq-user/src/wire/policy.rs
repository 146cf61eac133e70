//! # The API: what VMs may ask for
//!
//! `GET /v1/policy` is [`Policies`]. `PUT /v1/policy` takes a [`Request`] and
//! answers [`Changed`], `PUT /v1/policy/applied` an [`Apply`] and answers [`Applied`]; or a [`super::Failure`] with the status 400 (no such request),
//! 403 (not root), 404 (no such VM), 409 (refused, and why), 500 (it could not be kept;
//! nothing is changed) or 503 (the agent observes nothing).

mod change;
mod effective;
mod explain;
mod file;
mod glob;
mod limit;
mod names;
mod rate;
mod rule;

use std::collections::BTreeMap;

pub use guestreq_common::policy::{Backend, Mode};
use serde::{Deserialize, Serialize};

pub use change::{Apply, Change, Difference, Request, Target};
pub use effective::{Effective, Level, Origin, Setting, Stamp};
pub use explain::{RuleResult, Sets};
pub use file::{Located, LocatedRule, PolicyFile, Source};
pub use glob::Glob;
pub use limit::{Limit, Throttle, default_burst};
pub use names::{Named, Types};
pub use rate::Rate;
pub use rule::{Match, Rule};

/// `guestreq policy show -o json`, `guestreq limit show -o json`, `GET /v1/policy`
#[derive(Debug, Deserialize, Serialize)]
pub struct Policies {
    pub enforcement: Enforcement,
    pub config: Configuration,
    /// What holds for VMs of which nothing is said.
    pub default: Effective,
    pub vms: Vec<VmPolicy>,
    /// Overrides of VMs that are not running, by name: what would hold for them.
    pub absent: BTreeMap<String, Effective>,
    /// The configuration's, in the order in which they are tried.
    pub rules: Vec<LocatedRule>,
}

/// What was read of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Configuration {
    /// In the order in which they are read.
    pub files: Vec<String>,
    /// When what holds was read (RFC 3339).
    pub read_at: String,
    /// Why it could not be read since.
    pub failed: Option<Failed>,
    /// Keys that have changed since the agent's start, and that only a start reads.
    pub pending: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Failed {
    /// When it was tried last (RFC 3339).
    pub at: String,
    /// With file, line and column where there is one.
    pub error: String,
}

/// How decisions are carried out, and whether they are.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Enforcement {
    pub backend: Named<Backend>,
    /// The strictest that is asked for.
    pub mode: Named<Mode>,
    /// It was tried just now, and works.
    pub verified: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Requests that passed though they should not have; not known to an agent that waits.
    pub bypassed: Option<u64>,
}

/// What holds for a running VM.
#[derive(Debug, Deserialize, Serialize)]
pub struct VmPolicy {
    /// As in `guestreq vms`.
    pub vm: String,
    /// From its process' arguments: a label, not a proof.
    pub name: String,
    /// Empty where it is not known.
    pub uuid: String,
    #[serde(flatten)]
    pub policy: Effective,
    /// How many requests, by mode, then message, then decision.
    pub decisions: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
}

/// What was changed, and holds from now on.
#[derive(Debug, Deserialize, Serialize)]
pub struct Changed {
    pub target: Target,
    pub old: Effective,
    pub new: Effective,
    pub warnings: Vec<String>,
}

/// What became of a file that was applied, and holds from now on.
#[derive(Debug, Deserialize, Serialize)]
pub struct Applied {
    pub changed: Vec<Difference>,
    pub warnings: Vec<String>,
}
