//! # What an event tells

use std::borrow::Cow;

use guestreq_common::{
    message,
    policy::{Backend, Mode},
};
use serde::{Deserialize, Serialize};

use crate::wire::policy::{Effective, Named, Target};

/// What happened, by its `kind`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventData {
    /// A request ended, while somebody listens to all.
    Request(Ended),
    /// A request took longer than `slow_request`.
    Slow(Ended),
    /// A sequence number that was used before.
    Replay(Ended),
    /// A sequence number that skips others.
    Gap(Ended),
    /// The host failed; the PSP gave no answer.
    HostError(Ended),
    /// A disallowed type was refused.
    Denied(Decided),
    /// The first of a row of requests over the limit was told to come back.
    Throttled(Decided),
    /// The first that is admitted a second or more after the last of such a row.
    Unthrottled(Decided),
    /// A request passed that should have been decided, or stopped.
    Bypassed(Message),
    /// A VM is seen for the first time; after an agent's start, each that runs.
    NewVm {
        vmm: String,
    },
    /// A VM's guest context was decommissioned.
    ExitedVm {},
    /// Somebody changed what VMs may ask for.
    PolicyChanged(Box<PolicyChanged>),
    /// What is to be enforced is, or is not.
    Enforcement(Enforcement),
    AgentStarted {
        version: String,
        agent_pid: u32,
    },
    /// Something cannot be told. Told whatever was asked for.
    Lost(Lost),
    /// Changed files were read, and hold.
    ConfigReloaded {
        files: Vec<String>,
        /// What is different now.
        changed: String,
    },
    /// Changed files were read, and are wrong: what held before does.
    ConfigFailed {
        error: String,
    },
}

/// What a request said of itself: its message's header, which the guest wrote.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Message {
    pub message: Named<message::MessageType>,
    /// The type's number.
    pub message_type: u8,
    /// Which of the four keys, 0 to 3.
    pub vmpck: u8,
    /// Counts up, for each key.
    pub seqno: u64,
}

/// A request's end.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Ended {
    #[serde(flatten)]
    pub message: Message,
    /// As `result` in the metrics: ok, the firmware's status, `host_error`, or `busy` where the
    /// gate sent it back.
    pub result: Cow<'static, str>,
    /// What KVM was told: 0, or a negative errno.
    pub ret: i32,
    /// Absent where the PSP was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_seconds: Option<StageSeconds>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct StageSeconds {
    /// It waited for its VM's lock.
    pub vm_lock: f64,
    /// It waited for the PSP.
    pub psp_queue: f64,
    /// The PSP was at work.
    pub psp_service: f64,
}

/// What was decided of a request, and carried out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Decided {
    #[serde(flatten)]
    pub message: Message,
    /// deny, busy or admit.
    pub decision: Cow<'static, str>,
    pub mode: Named<Mode>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PolicyChanged {
    /// Who did it, as the kernel says.
    pub uid: u32,
    pub target: Target,
    pub old: Effective,
    pub new: Effective,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Enforcement {
    /// Tried, through the way that a request takes.
    pub verified: bool,
    pub backend: Named<Backend>,
    /// Why it is not enforced; where it is, what becomes of requests when nobody answers the gate.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Lost {
    /// As in guestreq_events_lost_total; or `slow_reader`: events came faster than they were read
    /// here; or `forgotten`: what the agent no longer keeps.
    pub reason: Cow<'static, str>,
    /// How many, since that was last said; of `forgotten`, all since the agent started, so that
    /// fewer of those asked for may be missing.
    pub count: u64,
}

impl Lost {
    pub const SLOW_READER: &'static str = "slow_reader";
    pub const FORGOTTEN: &'static str = "forgotten";
}
