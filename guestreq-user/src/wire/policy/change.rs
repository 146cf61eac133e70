//! # Changes, as they are requested

use std::fmt;

use guestreq_common::{message::MessageType, policy::Mode};
use serde::{Deserialize, Serialize};

use super::{Effective, Limit, Named, PolicyFile};
use crate::text::quoted;

/// One change of one target.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub target: Target,
    pub change: Change,
    /// Even if guests lose VMPCKs because the rate is too low.
    #[serde(default)]
    pub force: bool,
    /// Even if running VMs lose VMPCKs.
    #[serde(default)]
    pub yes: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Default,
    /// By its label, name, UUID or pid, or the name that something is set for.
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
    /// Drops what was set of the limit.
    ClearLimit,
    Mode(Named<Mode>),
    /// Beside what is allowed now.
    Allow(Vec<Named<MessageType>>),
    Deny(Vec<Named<MessageType>>),
    /// Drops what was set of mode and types.
    ClearPolicy,
}

/// What `policy apply` asks for: this file instead of the last one, or none.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    pub policy_file: Option<PolicyFile>,
    /// Even if running VMs lose VMPCKs.
    #[serde(default)]
    pub yes: bool,
}

/// What becomes of one VM, or of those of which nothing is said.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Difference {
    /// Its label; `None` is the default.
    pub vm: Option<String>,
    pub old: Effective,
    pub new: Effective,
}
