//! # Text of events, for the log and for tables

use std::{fmt, time::Duration};

use super::{
    Decided, Ended, EnforcementChanged, Event, EventData, EventVm, Kind, LaunchStages, Launched,
    Lost, Message, Overdue, PolicyChanged, VmpckLost, Work,
};
use crate::text::duration;

/// A line of the log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.vm {
            // Its text names the VM.
            Some(_) if self.kind() == Kind::PolicyChanged => self.what.fmt(f),
            Some(event_vm) => write!(f, "{}: VM {event_vm}, {}", self.kind(), self.details()),
            None => self.what.fmt(f),
        }
    }
}

impl Event {
    /// The text without kind and VM, which have columns of their own in a table.
    pub fn details(&self) -> String {
        match (&self.what, &self.vm) {
            (EventData::NewVm { .. } | EventData::ExitedVm {}, Some(EventVm { pid, .. })) => {
                format!("{}, pid {pid}", self.what)
            }
            (what, _) => what.to_string(),
        }
    }
}

/// Quotes names, which may contain anything.
impl fmt::Display for EventVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.vm {
            Some(label) => write!(f, "{label:?}"),
            None => write!(f, "of pid {}", self.pid),
        }
    }
}

impl fmt::Display for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventData::Request(ended)
            | EventData::Slow(ended)
            | EventData::Replay(ended)
            | EventData::Gap(ended)
            | EventData::HostError(ended) => ended.fmt(f),
            EventData::Denied(Decided { message, .. })
            | EventData::Throttled(Decided { message, .. })
            | EventData::Unthrottled(Decided { message, .. })
            | EventData::Rescued(Decided { message, .. })
            | EventData::Bypassed(message) => message.fmt(f),
            EventData::VmpckLost(lost) => lost.fmt(f),
            EventData::NewVm { vmm } => f.write_str(vmm),
            EventData::ExitedVm {} => f.write_str("decommissioned"),
            EventData::Launched(launched) => launched.fmt(f),
            EventData::Overdue(overdue) => overdue.fmt(f),
            EventData::PolicyChanged(changed) => changed.fmt(f),
            EventData::Enforcement(enforcement) => enforcement.fmt(f),
            EventData::AgentStarted { version, agent_pid } => {
                write!(f, "guestreq {version} started, pid {agent_pid}")
            }
            EventData::Lost(lost) => lost.fmt(f),
            EventData::ConfigReloaded { files, changed } => {
                let files = files.join(", ");
                write!(f, "configuration reloaded, {files}: {changed}")
            }
            EventData::ConfigFailed { error } => {
                write!(f, "configuration not reloaded: {error}")
            }
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { message, message_type, vmpck, seqno } = self;
        write!(f, "{message} (type {message_type}), VMPCK {vmpck}, sequence number {seqno}")
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { message, result, ret, stage_seconds } = self;
        write!(f, "{message}, {result} ({ret})")?;
        let Some(stages) = stage_seconds else { return Ok(()) };
        let [lock, queue, service] = [stages.vm_lock, stages.psp_queue, stages.psp_service]
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
        write!(f, ", vm_lock {lock:.3?}, psp_queue {queue:.3?}, psp_service {service:.3?}")
    }
}

impl fmt::Display for VmpckLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VmpckLost { vmpck, cause, inferred: _ } = self;
        write!(f, "VMPCK {vmpck}, {cause} (inferred): no attestation with it until a reboot")
    }
}

impl fmt::Display for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Launched { result, seconds, inferred, work } = self;
        let LaunchStages { psp_queue, psp_service, vmm } = work.stage_seconds;
        let [all, queue, service, vmm] = [*seconds, psp_queue, psp_service, vmm].map(duration);
        let how = if *inferred { " (inferred)" } else { "" };
        let Work { commands, pages, partial, .. } = work;
        let more = if *partial { "more than " } else { "" };
        write!(f, "{result}{how} after {more}{all}: {commands} commands, {pages} pages")?;
        write!(f, ", psp_queue {queue}, psp_service {service}, vmm {vmm}")?;
        work.failure().map_or(Ok(()), |failure| write!(f, "; {failure}"))
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overdue { count, waiting } = self;
        let requests = if *count == 1 { "request" } else { "requests" };
        write!(
            f,
            "{count} {requests} went to the PSP without a slot, because the order stood still for 10 s; \
             {waiting} still wait"
        )
    }
}

impl fmt::Display for PolicyChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PolicyChanged { uid, target, old, new } = self;
        write!(f, "uid {uid} changed the policy of {target}: {old} -> {new}")
    }
}

impl fmt::Display for EnforcementChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason.as_deref();
        if self.verified {
            write!(f, "enforcing with backend {}, verified", self.backend)?;
            reason.map_or(Ok(()), |without| write!(f, "; {without}"))
        } else {
            write!(f, "not enforced: {}", reason.unwrap_or("not yet verified"))
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { reason, count } = self;
        match &**reason {
            Lost::SLOW_READER => write!(f, "{count} events dropped: this reader is too slow"),
            Lost::LAUNCHES => write!(f, "{count} launches ended unread: only counters have them"),
            Lost::FORGOTTEN => write!(f, "the agent no longer has {count} earlier events"),
            reason => write!(f, "{count} lost: {reason}"),
        }
    }
}
