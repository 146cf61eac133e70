//! # Everything at one moment
//!
//! `GET /v1/overview` is [`Overview`]: what `guestreq top` shows. Its parts are what `/v1/vms`,
//! `/v1/psp` and `/v1/policy` answer, but of one moment, so that a VM's rate, its policy and the
//! queue belong together.

use serde::{Deserialize, Serialize};

use super::{Psp, Vms, policy::Policies};

#[derive(Debug, Deserialize, Serialize)]
pub struct Overview {
    pub agent: AgentInfo,
    pub vms: Vms,
    pub psp: Psp,
    pub policy: Policies,
}

/// Who answers, and when.
#[derive(Debug, Deserialize, Serialize)]
pub struct AgentInfo {
    pub version: String,
    pub host: String,
    /// RFC 3339, by the host's clock.
    pub at: String,
    /// The same moment by a clock that nobody sets, for differences between two answers.
    pub monotonic_seconds: f64,
}
