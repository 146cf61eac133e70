//! # What goes over the agent's socket
//!
//! The types that the agent and the command line share. They depend on nothing else in this crate.

pub mod events;
pub mod explain;
pub mod identity;
pub mod overview;
pub mod policy;
pub mod status;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by message, then by result.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// `guestreq vms -o json`, `GET /v1/vms`
#[derive(Debug, Deserialize, Serialize)]
pub struct Vms {
    /// Over how many seconds the `recent_` fields were measured.
    pub window_seconds: f64,
    /// Who takes the most of the PSP comes first.
    pub vms: Vec<Vm>,
}

/// A VM. Times are in seconds, counts since the agent started.
#[derive(Debug, Deserialize, Serialize)]
pub struct Vm {
    /// By which it is told from all others: its name, behind its namespace if it has one, with
    /// the pid where two have the same.
    pub vm: String,
    /// From its process' arguments: a label, not a proof.
    pub name: String,
    /// Empty where it is not known.
    pub uuid: String,
    /// `qemu`, `cloud-hypervisor`, `firecracker`, or the process' name.
    pub vmm: String,
    /// Its pod's, of a VM of KubeVirt; else empty.
    pub namespace: String,
    /// Of the pod that it runs in; empty without.
    pub pod_uid: String,
    /// Of its VMM.
    pub pid: u32,
    /// Its process lives, and has a guest context that the PSP knows.
    pub running: bool,
    /// All guest requests, whatever came of them.
    pub requests: u64,
    /// Those that wanted certificates, too.
    pub extended_requests: u64,
    /// SEV-TIO guest requests, which its process has made for it. They are not in the others: no
    /// policy decides them.
    pub tio_requests: u64,
    /// By message type, then by result.
    pub results: Counts,
    /// Requests by VMPCK 0 to 3; the fifth counts numbers that no guest has.
    pub vmpck: Vec<u64>,
    /// Sums over all requests that the PSP answered.
    pub stage_seconds: BTreeMap<String, f64>,
    /// Half of the requests took no longer, as a whole.
    pub p50_seconds: Option<f64>,
    /// All but one in a hundred took no longer.
    pub p99_seconds: Option<f64>,
    /// The PSP's time by what it was spent on.
    pub psp_seconds: BTreeMap<String, f64>,
    /// Sequence numbers used before (`replay`), or that left some out (`gap`).
    pub sequence_anomalies: BTreeMap<String, u64>,
    /// Over the last `window_seconds`.
    pub recent_requests_per_second: f64,
    /// Of the PSP's time, 0 to 1.
    pub recent_psp_share: f64,
    /// By message; those that it sent.
    pub recent_messages_per_second: BTreeMap<String, f64>,
    /// By decision, whatever the mode: those that there were.
    pub recent_decisions_per_second: BTreeMap<String, f64>,
    /// Of a whole request; absent without recent requests.
    pub recent_p50_seconds: Option<f64>,
    /// The same.
    pub recent_p99_seconds: Option<f64>,
    /// Before it has asked, null.
    pub last_request_seconds_ago: Option<f64>,
}

/// `guestreq psp -o json`, `GET /v1/psp`
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
    pub recent_stages: BTreeMap<String, Recent>,
    /// All that the PSP worked, the running command included: between two answers, what happened
    /// per time.
    pub busy_seconds: f64,
    /// All that guest requests waited for it, likewise.
    pub waited_seconds: f64,
    pub commands: Vec<Command>,
    pub messages: Vec<Message>,
    /// VMGEXITs that were guest requests, by `plain` and `extended`.
    pub guest_requests: BTreeMap<String, u64>,
    /// What guests were told.
    pub guest_told: BTreeMap<String, u64>,
    /// What could not be counted or told, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Whether each probe that is needed is attached.
    pub probes: BTreeMap<String, bool>,
}

/// Who has the PSP.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Holder {
    /// The kernel's name of it in lower case, or its number.
    pub command: String,
    /// The VM that it is for, if it is known.
    pub vm: Option<String>,
    /// Of the process that the command is for.
    pub pid: u32,
    /// For how long.
    pub seconds: f64,
}

/// What the PSP was given, of one kind.
#[derive(Debug, Deserialize, Serialize)]
pub struct Command {
    /// The kernel's name of it in lower case, or its number.
    pub command: String,
    /// How often.
    pub count: u64,
    /// How often it was answered by an error, or not at all.
    pub failed: u64,
    /// How long it held the PSP.
    pub busy_seconds: f64,
}

/// A message type's requests, and the time that the answered ones took by stage.
#[derive(Debug, Deserialize, Serialize)]
pub struct Message {
    /// Its type.
    pub message: String,
    /// Requests by result.
    pub results: BTreeMap<String, u64>,
    /// By `vm_lock`, `psp_queue` and `psp_service`.
    pub stages: BTreeMap<String, Stage>,
}

/// The time that requests spent in a stage.
#[derive(Debug, Deserialize, Serialize)]
pub struct Stage {
    /// Of all together.
    pub seconds: f64,
    /// Half of the requests took no longer.
    pub p50_seconds: Option<f64>,
    /// All but one in a hundred took no longer.
    pub p99_seconds: Option<f64>,
}

/// A stage's time within the window; absent without requests.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Recent {
    /// Of the requests that ended within the window; null without any.
    pub p50_seconds: Option<f64>,
    /// The same.
    pub p99_seconds: Option<f64>,
}

/// What the agent answers where it cannot do what was asked.
#[derive(Debug, Deserialize, Serialize)]
pub struct Failure {
    pub error: String,
}
