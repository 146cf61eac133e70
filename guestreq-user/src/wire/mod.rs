//! # Types of the agent's API
//!
//! Shared by the agent and the command line.

pub mod conditions;
pub mod events;
pub mod explain;
pub mod identity;
pub mod launches;
pub mod order;
pub mod overview;
pub mod policy;
pub mod status;

use std::{collections::BTreeMap, fmt};

use guestreq_common::waiting::LostCause;
use serde::{Deserialize, Serialize};

/// Counts by message, then by result.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// `guestreq vms -o json`, `GET /v1/vms`
#[derive(Debug, Deserialize, Serialize)]
pub struct Vms {
    /// Window of the `recent_` fields.
    pub window_seconds: f64,
    /// Ordered by share of the PSP, largest first.
    pub vms: Vec<Vm>,
}

/// A VM. Times are in seconds, counts since the agent started.
#[derive(Debug, Deserialize, Serialize)]
pub struct Vm {
    /// Unique label: NAME or NAMESPACE/NAME, followed by the pid if two VMs have the same.
    pub vm: String,
    /// From the VMM's arguments: a label, not a proof.
    pub name: String,
    /// Empty if not known.
    pub uuid: String,
    /// `qemu`, `cloud-hypervisor`, `firecracker`, or the process' name.
    pub vmm: String,
    /// Its pod's namespace (KubeVirt); else empty.
    pub namespace: String,
    /// Its pod's UID; else empty.
    pub pod_uid: String,
    /// Process of the VMM.
    pub pid: u32,
    /// Its process runs and has an active guest context.
    pub running: bool,
    /// All guest requests, whatever their result.
    pub requests: u64,
    /// Those that also requested certificates.
    pub extended_requests: u64,
    /// SEV-TIO requests that the VMM made for it; not in `requests`, and no policy decides them.
    pub tio_requests: u64,
    /// By message type, then by result.
    pub results: Counts,
    /// Answered requests by VMPCK 0 to 3; the fifth counts invalid ones.
    pub vmpck: Vec<u64>,
    /// Sums over all requests that the PSP answered, by stage.
    pub stage_seconds: BTreeMap<String, f64>,
    /// Median duration of a request.
    pub p50_seconds: Option<f64>,
    /// 99th percentile of a request's duration.
    pub p99_seconds: Option<f64>,
    /// The PSP's time for this VM, by class of command.
    pub psp_seconds: BTreeMap<String, f64>,
    /// Reused (`replay`) and skipped (`gap`) sequence numbers.
    pub sequence_anomalies: BTreeMap<String, u64>,
    /// Messages over the limit that were admitted because they had waited for 30 s.
    pub rescued: u64,
    /// VMPCKs that the guest has probably wiped and not used since, inferred from how Linux treats
    /// refusals.
    pub lost_vmpcks: Vec<LostVmpck>,
    /// How often a VMPCK was lost so far, by cause.
    pub vmpcks_lost: BTreeMap<String, u64>,
    /// Time since the first refusal of the oldest message that still waits after BUSY; null if none
    /// waits.
    pub oldest_refused_seconds: Option<f64>,
    /// Over the last `window_seconds`.
    pub recent_requests_per_second: f64,
    /// Share of the PSP's time, 0 to 1.
    pub recent_psp_share: f64,
    /// By message type, without zeros.
    pub recent_messages_per_second: BTreeMap<String, f64>,
    /// By decision in any mode, without zeros.
    pub recent_decisions_per_second: BTreeMap<String, f64>,
    /// Median duration; null without recent requests.
    pub recent_p50_seconds: Option<f64>,
    /// 99th percentile; null without recent requests.
    pub recent_p99_seconds: Option<f64>,
    /// Null before the first request.
    pub last_request_seconds_ago: Option<f64>,
}

/// A VMPCK that a guest has probably wiped.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LostVmpck {
    /// Index of the key, 0 to 3.
    pub vmpck: u8,
    /// `denied`: its message was denied; `busy`: its message was refused with BUSY and not admitted
    /// within 60 s.
    pub cause: String,
}

impl Vm {
    /// The VMPCKs that a cause has cost, if any: `"0,2"`.
    pub fn lost_to(&self, cause: &str) -> Option<String> {
        let lost = self.lost_vmpcks.iter().filter(|lost| lost.cause == cause);
        let lost: Vec<String> = lost.map(|lost| lost.vmpck.to_string()).collect();
        (!lost.is_empty()).then(|| lost.join(","))
    }

    /// `0,2 denied; 1 busy`, or a dash.
    pub fn lost(&self) -> String {
        let of_cause =
            |cause: &LostCause| Some(format!("{} {}", self.lost_to(cause.name())?, cause.name()));
        let lost: Vec<String> = LostCause::ALL.iter().filter_map(of_cause).collect();
        if lost.is_empty() { "-".to_owned() } else { lost.join("; ") }
    }

    /// Mean time in a stage, over the requests that the PSP answered.
    pub fn mean_stage_seconds(&self, stage: &str) -> Option<f64> {
        let answered: u64 = self.vmpck.iter().sum();
        let seconds = self.stage_seconds.get(stage)?;
        (answered > 0).then(|| seconds / answered as f64)
    }
}

/// `guestreq psp -o json`, `GET /v1/psp`
#[derive(Debug, Deserialize, Serialize)]
pub struct Psp {
    /// Window of the `recent_` fields.
    pub window_seconds: f64,
    /// The running command; null if idle.
    pub holder: Option<Holder>,
    /// Guest requests that wait for the PSP now.
    pub queue_length: u64,
    /// Share of time that the PSP was busy, 0 to 1.
    pub recent_utilisation: f64,
    /// Mean number of waiting guest requests.
    pub recent_queue_length: f64,
    /// By stage, over guest requests that the PSP answered within the window.
    pub recent_stages: BTreeMap<String, Recent>,
    /// Total busy time, running command included: the difference of two answers gives the
    /// utilisation between them.
    pub busy_seconds: f64,
    /// Total time that guest requests waited for the PSP: likewise the mean queue length.
    pub waited_seconds: f64,
    pub commands: Vec<Command>,
    pub messages: Vec<MessageStats>,
    /// VMGEXITs that were guest requests, by `plain` and `extended`.
    pub guest_requests: BTreeMap<String, u64>,
    /// What guests got as answers.
    pub guest_answers: BTreeMap<String, u64>,
    /// The gate's order; null without a gate that has one.
    pub order: Option<order::Order>,
    /// Why the order cannot be read.
    pub order_error: Option<String>,
    /// ASIDs for SNP guests; null if the host's misc cgroup controller cannot be read.
    pub asids: Option<Asids>,
    /// Lost observations and events, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Whether each required probe is attached.
    pub probes: BTreeMap<String, bool>,
}

/// ASIDs for SNP guests, each of which occupies one; SEV-ES guests count too.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Asids {
    /// By running guests.
    pub used: u64,
    /// How many more guests can start.
    pub available: u64,
}

/// `3 of 99`
impl fmt::Display for Asids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.used, self.used.saturating_add(self.available))
    }
}

/// The command that occupies the PSP.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Holder {
    /// The kernel's name in lower case, or its number.
    pub command: String,
    /// Its VM, if known.
    pub vm: Option<String>,
    /// Its process.
    pub pid: u32,
    /// Running time.
    pub seconds: f64,
}

/// Commands of one type.
#[derive(Debug, Deserialize, Serialize)]
pub struct Command {
    /// The kernel's name in lower case, or its number.
    pub command: String,
    /// Completed commands.
    pub count: u64,
    /// Those answered with an error, or not at all.
    pub failed: u64,
    /// Time that they occupied the PSP.
    pub busy_seconds: f64,
}

/// Requests of one message type; `stages` covers those that the PSP answered.
#[derive(Debug, Deserialize, Serialize)]
pub struct MessageStats {
    /// The message type.
    pub message: String,
    /// Requests by result.
    pub results: BTreeMap<String, u64>,
    /// By `vm_lock`, `psp_queue` and `psp_service`.
    pub stages: BTreeMap<String, Stage>,
}

/// Time that requests spent in a stage.
#[derive(Debug, Deserialize, Serialize)]
pub struct Stage {
    /// Sum of all requests.
    pub seconds: f64,
    /// Median.
    pub p50_seconds: Option<f64>,
    /// 99th percentile.
    pub p99_seconds: Option<f64>,
}

/// Time in a stage, over requests that ended within the window; null without any.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Recent {
    /// Median.
    pub p50_seconds: Option<f64>,
    /// 99th percentile.
    pub p99_seconds: Option<f64>,
}

/// The body of an error response.
#[derive(Debug, Deserialize, Serialize)]
pub struct Failure {
    pub error: String,
}
