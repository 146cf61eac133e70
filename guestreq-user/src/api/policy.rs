//! # The API: what VMs may ask for
//!
//! `GET /v1/policy` is [`Policies`]. `PUT /v1/policy` takes a [`Request`] and
//! answers [`Changed`], `PUT /v1/policy/applied` an [`Apply`] and answers [`Applied`]; or a [`super::Failure`] with the status 400 (no such request),
//! 403 (not root), 404 (no such VM), 409 (refused, and why), 500 (it could not be kept;
//! nothing is changed) or 503 (the agent observes nothing).

use std::collections::BTreeMap;

use guestreq_common::policy::{Backend, Mode};
use serde::{Deserialize, Serialize};

pub use crate::policy::{
    Apply, Change, Difference, Effective, Limit, Named, Placed, Rate, Request, Target, Throttle,
    default_burst, quoted,
};

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
    pub rules: Vec<Placed>,
}

/// What was read of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Configuration {
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
    pub at: String,
    pub error: String,
}

/// How decisions are carried out, and whether they are.
#[derive(Debug, Deserialize, Serialize)]
pub struct Enforcement {
    pub backend: Named<Backend>,
    /// The strictest that is asked for.
    pub mode: Named<Mode>,
    pub verified: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Requests that passed though they should not have.
    pub bypassed: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct VmPolicy {
    pub vm: String,
    pub name: String,
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
