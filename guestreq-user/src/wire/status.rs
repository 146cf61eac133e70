//! # Status of the agent, for `guestreq doctor`
//!
//! Available also while nothing is observed.

use serde::{Deserialize, Serialize};

use super::{Holder, policy::Enforcement};

/// `GET /v1/agent`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Agent {
    pub version: String,
    pub pid: u32,
    /// As `/readyz`.
    pub ready: bool,
    /// Why it is not ready.
    pub reason: Option<String>,
    pub enforcement: Enforcement,
    /// Empty while nothing is observed.
    pub maps: Vec<Map>,
    /// The PSP's running command; null if idle.
    pub holder: Option<Holder>,
    /// VMs whose processes cannot be read: they have no name, and rules that match by name do not
    /// apply to them; null while nothing is observed.
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
