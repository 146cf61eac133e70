//! # Requests for changes

use std::fmt;

use guestreq_common::{message::MessageType, policy::Mode};
use serde::{Deserialize, Serialize};

use super::{Effective, Limit, Named, PolicyFile, Weight};
use crate::text::quoted;

/// One change of one target.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub target: Target,
    pub change: Change,
    /// Proceed even if the limit is so low that messages of well-behaved guests would be admitted over
    /// it, after 30 s of BUSY.
    #[serde(default)]
    pub force: bool,
    /// Proceed even if running VMs lose VMPCKs, or need rescues.
    #[serde(default)]
    pub yes: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Default,
    /// Its label, name, UUID or pid, or the name of an override.
    Vm(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Default => f.write_str("default"),
            Target::Vm(name) => write!(f, "VM {}", quoted(name)),
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Limit(Limit),
    Weight(Weight),
    LimitAndWeight {
        limit: Limit,
        weight: Weight,
    },
    /// Removes overrides of limit and weight.
    ClearLimit,
    Mode(Named<Mode>),
    /// In addition to the types allowed now.
    Allow(Vec<Named<MessageType>>),
    Deny(Vec<Named<MessageType>>),
    /// Removes overrides of mode and types.
    ClearPolicy,
}

impl Change {
    /// The limit that it sets.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Change::Limit(limit) | Change::LimitAndWeight { limit, .. } => Some(*limit),
            _ => None,
        }
    }

    /// The weight that it sets.
    pub fn weight(&self) -> Option<Weight> {
        match self {
            Change::Weight(weight) | Change::LimitAndWeight { weight, .. } => Some(*weight),
            _ => None,
        }
    }
}

/// `policy apply`: replaces the applied file, or removes it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    pub policy_file: Option<PolicyFile>,
    /// Proceed even if running VMs lose VMPCKs, or need rescues.
    #[serde(default)]
    pub yes: bool,
}

/// A change of one VM's policy, or of the default.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Difference {
    /// The VM's label; `None` for the default.
    pub vm: Option<String>,
    pub old: Effective,
    pub new: Effective,
}
