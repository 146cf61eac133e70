//! # Overview for `guestreq top`
//!
//! `GET /v1/overview` is [`Overview`]: `/v1/vms`, `/v1/psp`, `/v1/policy` and running launches of the
//! same moment.

use serde::{Deserialize, Serialize};

use super::{Psp, Vms, launches::Launch, policy::Policies};

#[derive(Debug, Deserialize, Serialize)]
pub struct Overview {
    pub agent: AgentInfo,
    pub vms: Vms,
    pub psp: Psp,
    pub policy: Policies,
    /// Those that run, as in `/v1/launches`.
    #[serde(default)]
    pub launches: Vec<Launch>,
}

/// The agent that answers, and when.
#[derive(Debug, Deserialize, Serialize)]
pub struct AgentInfo {
    pub version: String,
    pub host: String,
    /// RFC 3339, by the host's clock.
    pub at: String,
    /// The same time by the monotonic clock.
    pub monotonic_seconds: f64,
}
