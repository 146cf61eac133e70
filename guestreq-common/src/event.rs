//! # Events
//!
//! What someone must see one by one goes through a ring buffer. Everything
//! else is counted in maps, so that cost does not grow with traffic.

#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any request, while someone listens to all.
    Request = 0,
    Slow = 1,
    Replay = 2,
    Gap = 3,
    HostError = 4,
    /// A VM is seen for the first time: the agent names it while it lives.
    NewVm = 5,
    /// A disallowed type was refused.
    Denied = 6,
    /// The first of a row of requests over the limit.
    Throttled = 7,
    /// The first admitted one after such a row.
    Unthrottled = 8,
    /// A request passed though it should have been decided, or stopped.
    Bypassed = 9,
}

impl Kind {
    pub const ALL: [Kind; 10] = [
        Kind::Request,
        Kind::Slow,
        Kind::Replay,
        Kind::Gap,
        Kind::HostError,
        Kind::NewVm,
        Kind::Denied,
        Kind::Throttled,
        Kind::Unthrottled,
        Kind::Bypassed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Kind::Request => "request",
            Kind::Slow => "slow",
            Kind::Replay => "replay",
            Kind::Gap => "gap",
            Kind::HostError => "host_error",
            Kind::NewVm => "new_vm",
            Kind::Denied => "denied",
            Kind::Throttled => "throttled",
            Kind::Unthrottled => "unthrottled",
            Kind::Bypassed => "bypassed",
        }
    }

    pub fn from_number(number: u8) -> Option<Kind> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A record of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// In ns of CLOCK_MONOTONIC.
    pub time: u64,
    pub seqno: u64,
    pub stage_ns: [u64; crate::request::STAGES],
    pub tgid: u32,
    pub vm: u32,
    pub generation: u32,
    /// What `__sev_do_cmd_locked` or KVM_RUN returned.
    pub ret: i32,
    pub kind: u8,
    pub message_type: u8,
    pub vmpck: u8,
    pub outcome: u8,
    pub reserved: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_kind_has_is_none() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(Kind::ALL.len() as u8), None);
    }
}
