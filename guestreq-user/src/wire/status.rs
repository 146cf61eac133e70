//! # Status of the agent, for `guestreq doctor` and `guestreq condition`
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
    /// Whether the PSP answers; null while nothing is observed.
    #[serde(default)]
    pub psp: Option<PspState>,
    /// The file with labels for Node Feature Discovery; null if none is configured.
    #[serde(default)]
    pub feature_file: Option<FeatureFile>,
}

/// Whether the PSP answers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct PspState {
    /// As the alert GuestreqPspDead: for two minutes requests waited and no command completed, or for
    /// four minutes requests failed and none was answered.
    pub dead: bool,
    /// Why it counts as dead.
    pub reason: Option<String>,
}

/// A file with labels for Node Feature Discovery.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct FeatureFile {
    pub path: String,
    /// Why it could not be written, the last time; null if it was, or is about to be.
    pub error: Option<String>,
}

/// How full a BPF map is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Map {
    /// `vms`, `threads` or `contexts`.
    pub map: String,
    pub entries: u64,
    pub capacity: u64,
}
