//! # The agent itself
//!
//! Reported also while nothing is observed: what `guestreq doctor` needs.

use serde::{Deserialize, Serialize};

use super::{Holder, policy::Enforcement};

/// `GET /v1/agent`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Agent {
    /// Of the agent's guestreq.
    pub version: String,
    pub pid: u32,
    /// What `/readyz` says.
    pub ready: bool,
    /// Why it is not ready.
    pub reason: Option<String>,
    pub enforcement: Enforcement,
    /// Empty while nothing is observed.
    pub maps: Vec<Map>,
    /// The command that has the PSP now, if one does.
    pub holder: Option<Holder>,
    /// VMs whose processes cannot be read, so that they have no name and no rule that names them
    /// holds for them; null while nothing is observed.
    pub unread_vms: Option<u64>,
}

/// How full a BPF map is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Map {
    /// `vms`, `threads` or `contexts`.
    pub map: String,
    pub entries: u64,
    pub capacity: u64,
}
