//! # The API: what VMs may ask for
//!
//! `GET /v1/policy` is [`Policies`]. `PUT /v1/policy` takes a [`Request`] and
//! answers [`Changed`], or a [`super::Failure`] with the status 400 (no such request),
//! 403 (not root), 404 (no such VM), 409 (refused, and why), 500 (it could not be kept;
//! nothing is changed) or 503 (the agent observes nothing).

use std::collections::BTreeMap;

pub use guestreq_common::policy::{Backend, Mode};
use serde::{Deserialize, Serialize};

pub use crate::policy::{
    Change, Effective, Limit, Named, Rate, Request, Rule, Target, Throttle, default_burst,
};

#[derive(Debug, Deserialize, Serialize)]
pub struct Policies {
    pub enforcement: Enforcement,
    /// What holds for VMs of which nothing is said.
    pub default: Effective,
    pub vms: Vec<VmPolicy>,
    /// Overrides of VMs that are not running, by name: what would hold for them.
    pub absent: BTreeMap<String, Effective>,
    /// The configuration's, in their order.
    pub rules: Vec<Rule>,
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
