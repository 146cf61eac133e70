//! # Data of events, by kind

use std::borrow::Cow;

use guestreq_common::{
    message,
    policy::{Backend, Mode},
};
use serde::{Deserialize, Serialize};

use super::Launched;
use crate::wire::policy::{Effective, Named, Target};

/// What happened, by `kind`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventData {
    /// Any request, while a follower wants all.
    Request(Ended),
    /// A request took longer than `slow_request`.
    Slow(Ended),
    /// A sequence number was reused.
    Replay(Ended),
    /// Sequence numbers were skipped.
    Gap(Ended),
    /// The host failed the request without an answer of the PSP.
    HostError(Ended),
    /// A request of a disallowed type was refused.
    Denied(Decided),
    /// The first of consecutive requests over the limit got BUSY.
    Throttled(Decided),
    /// The first request admitted a second or more after the last one over the limit.
    Unthrottled(Decided),
    /// A message over the limit was admitted, because it had waited for 30 s.
    Rescued(Decided),
    /// A guest has probably wiped a VMPCK: it cannot attest with it until it is rebooted.
    VmpckLost(VmpckLost),
    /// A request bypassed enforcement.
    Bypassed(Message),
    /// A new VM; after the agent's start, each that runs.
    NewVm {
        vmm: String,
    },
    /// A VM's guest context was decommissioned.
    ExitedVm {},
    /// A policy was changed by the command line.
    PolicyChanged(Box<PolicyChanged>),
    /// Enforcement works, or does not.
    Enforcement(EnforcementChanged),
    AgentStarted {
        version: String,
        agent_pid: u32,
    },
    /// Events or observations were lost. Reported whatever the filter.
    Lost(Lost),
    /// The configuration was reloaded.
    ConfigReloaded {
        files: Vec<String>,
        /// The differences.
        changed: String,
    },
    /// Reloading failed: the previous configuration remains.
    ConfigFailed {
        error: String,
    },
    /// A VM's launch has ended, whatever its result.
    Launched(Box<Launched>),
    /// The first requests of a series went to the PSP without a slot, because the gate's order stood
    /// still for 10 s.
    Overdue(Overdue),
}

/// A request's message header, as the guest wrote it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Message {
    pub message: Named<message::MessageType>,
    /// The type's number.
    pub message_type: u8,
    /// Index of the key, 0 to 3.
    pub vmpck: u8,
    /// Sequence number, per key.
    pub seqno: u64,
}

/// A completed request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Ended {
    #[serde(flatten)]
    pub message: Message,
    /// Label `result` of the metrics: `ok`, the firmware's status, `host_error`, or `busy` from the
    /// gate.
    pub result: Cow<'static, str>,
    /// Return value to KVM: 0 or a negative errno.
    pub ret: i32,
    /// Absent if it did not reach the PSP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage_seconds: Option<StageSeconds>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct StageSeconds {
    /// Waiting for the VM's lock.
    pub vm_lock: f64,
    /// Waiting for the PSP.
    pub psp_queue: f64,
    /// In the PSP.
    pub psp_service: f64,
}

/// A decision that was enforced.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Decided {
    #[serde(flatten)]
    pub message: Message,
    /// deny, busy or admit.
    pub decision: Cow<'static, str>,
    pub mode: Named<Mode>,
}

/// A VMPCK that its guest has wiped, as far as the host can tell.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VmpckLost {
    /// Index of the key, 0 to 3.
    pub vmpck: u8,
    /// `denied`: its message was denied; `busy`: its message was refused with BUSY and not admitted
    /// within 60 s.
    pub cause: Cow<'static, str>,
    /// Always true: the host cannot see the key, and infers this from how Linux treats refusals.
    pub inferred: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PolicyChanged {
    /// The user, from the socket's credentials.
    pub uid: u32,
    pub target: Target,
    pub old: Effective,
    pub new: Effective,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EnforcementChanged {
    /// Whether the self-test succeeds.
    pub verified: bool,
    pub backend: Named<Backend>,
    /// Why it is not enforced; if it is, what the gate does with requests that no program decides.
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Overdue {
    /// How many at first; guestreq_order_overdue_total counts all.
    pub count: u64,
    /// Requests that still wait in the order.
    pub waiting: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Lost {
    /// As in guestreq_events_lost_total; or `slow_reader`: this client read too slowly; or
    /// `forgotten`: the agent no longer keeps them; or `launches`: so many launches ended at once
    /// that the agent could not read some of them, but the counters have them.
    pub reason: Cow<'static, str>,
    /// How many since the last report; of `forgotten`, all since the agent started, of which fewer
    /// may match the query.
    pub count: u64,
}

impl Lost {
    pub const SLOW_READER: &'static str = "slow_reader";
    pub const FORGOTTEN: &'static str = "forgotten";
    pub const LAUNCHES: &'static str = "launches";
}
