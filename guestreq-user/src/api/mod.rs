//! # The API
//!
//! HTTP/JSON over a unix socket, for the command line: the types both sides
//! share, the agent's answers and the client.

pub mod client;
mod control;
pub mod overview;
pub use control::each_decision;
pub mod policy;
mod report;
pub use report::{command_name, lost, queue_length};
pub mod server;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by message, then by result.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// `GET /v1/vms`
#[derive(Debug, Deserialize, Serialize)]
pub struct Vms {
    /// Over how many seconds the `recent_` fields were measured.
    pub window_seconds: f64,
    pub vms: Vec<Vm>,
}

/// A VM. Times are in seconds, counts since the agent started.
#[derive(Debug, Deserialize, Serialize)]
pub struct Vm {
    pub vm: String,
    pub name: String,
    pub uuid: String,
    pub vmm: String,
    pub pid: u32,
    /// Its process lives, and has a guest context that the PSP knows.
    pub running: bool,
    pub requests: u64,
    pub extended_requests: u64,
    pub results: Counts,
    /// Requests by VMPCK 0 to 3; the fifth counts numbers that no guest has.
    pub vmpck: Vec<u64>,
    /// Sums over all requests that the PSP answered.
    pub stage_seconds: BTreeMap<String, f64>,
    /// Of a whole request; absent without requests.
    pub p50_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
    /// The PSP's time by what it was spent on.
    pub psp_seconds: BTreeMap<String, f64>,
    pub sequence_anomalies: BTreeMap<String, u64>,
    pub recent_requests_per_second: f64,
    /// Of the PSP's time, 0 to 1.
    pub recent_psp_share: f64,
    /// By message; those that it sent.
    #[serde(default)]
    pub recent_messages_per_second: BTreeMap<String, f64>,
    /// By decision, whatever the mode: those that there were.
    #[serde(default)]
    pub recent_decisions_per_second: BTreeMap<String, f64>,
    /// Of a whole request; absent without recent requests.
    pub recent_p50_seconds: Option<f64>,
    pub recent_p99_seconds: Option<f64>,
    pub last_request_seconds_ago: Option<f64>,
}

/// `GET /v1/psp`
#[derive(Debug, Deserialize, Serialize)]
pub struct Psp {
    /// Over how many seconds the `recent_` fields were measured.
    pub window_seconds: f64,
    /// The command that runs now, if one does.
    pub holder: Option<Holder>,
    /// Guest requests that wait for the PSP now.
    pub queue_length: u64,
    /// Busy time per time, 0 to 1.
    pub recent_utilisation: f64,
    /// Mean number of guest requests that waited.
    pub recent_queue_length: f64,
    /// By stage, of all guest requests that the PSP answered within the window.
    #[serde(default)]
    pub recent_stages: BTreeMap<String, Recent>,
    /// All that the PSP worked, the running command included, and all that guest requests
    /// waited for it: between two answers, what happened per time.
    #[serde(default)]
    pub busy_seconds: f64,
    #[serde(default)]
    pub waited_seconds: f64,
    pub commands: Vec<Command>,
    pub messages: Vec<Message>,
    /// VMGEXITs that were guest requests, by `plain` and `extended`.
    pub guest_requests: BTreeMap<String, u64>,
    /// What guests were told.
    pub guest_told: BTreeMap<String, u64>,
    /// What could not be counted or told, by reason.
    pub lost: BTreeMap<String, u64>,
    pub probes: BTreeMap<String, bool>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Holder {
    pub command: String,
    pub vm: Option<String>,
    pub pid: u32,
    pub seconds: f64,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Command {
    pub command: String,
    pub count: u64,
    pub failed: u64,
    pub busy_seconds: f64,
}

/// A message type's requests, and the time that the answered ones took by stage.
#[derive(Debug, Deserialize, Serialize)]
pub struct Message {
    pub message: String,
    pub results: BTreeMap<String, u64>,
    pub stages: BTreeMap<String, Stage>,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct Stage {
    pub seconds: f64,
    pub p50_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
}

/// A stage's time within the window; absent without requests.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Recent {
    pub p50_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
}

/// What the agent answers where it cannot do what was asked.
#[derive(Debug, Deserialize, Serialize)]
pub struct Failure {
    pub error: String,
}
