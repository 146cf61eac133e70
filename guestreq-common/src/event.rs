//! # Events
//!
//! What users must see one by one goes through a ring buffer. All else is counted in maps, so that
//! cost does not grow with traffic.

use crate::{outcome::Outcome, request::STAGES, units::MonotonicNs, vm::VmRef};

named_enum! {
    pub enum EventKind {
        /// Any request, while a follower streams all of them.
        Request = 0 => "request",
        Slow = 1 => "slow",
        Replay = 2 => "replay",
        Gap = 3 => "gap",
        HostError = 4 => "host_error",
        /// A new VM: the agent names it while its process runs.
        NewVm = 5 => "new_vm",
        /// A disallowed message type was denied.
        Denied = 6 => "denied",
        /// The first of a series of requests over the limit.
        Throttled = 7 => "throttled",
        /// The first admitted request after such a series.
        Unthrottled = 8 => "unthrottled",
        /// A request passed without a decision, or was not stopped.
        Bypassed = 9 => "bypassed",
        /// A message over the limit was admitted, because it had waited so long.
        Rescued = 10 => "rescued",
        /// A launch ended: the agent reads its record ([`crate::launch::EndedLaunch`]).
        Launched = 11 => "launched",
    }
}

impl EventKind {
    pub fn from_number(number: u8) -> Option<EventKind> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A record of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    pub time: MonotonicNs,
    pub seqno: u64,
    pub stage_ns: [u64; STAGES],
    pub tgid: u32,
    pub vm: VmRef,
    /// What `__sev_do_cmd_locked` or KVM_RUN returned.
    pub ret: i32,
    /// [`EventKind`]
    pub kind: u8,
    pub message_type: u8,
    pub vmpck: u8,
    pub outcome: Outcome,
    pub reserved: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_kind_is_none() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(EventKind::from_number(EventKind::ALL.len() as u8), None);
    }
}
