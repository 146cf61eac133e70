//! # Outcomes of attempts
//!
//! What a guest did, the outcome, and the names of both in the report.

use crate::ghcb::INFO_1_MALFORMED;

/// Codes in the VMM's half of `exit_info_2`, as the GHCB specification splits it.
const VMM_BUSY: u32 = 2;

/// What a guest did: a request of a message type, or something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Request(u8),
    /// a request whose type is only known to whoever copies it
    Raced,
    Vmgexit,
    Ordinary,
}

impl Action {
    pub fn key(self) -> String {
        match self {
            Self::Request(kind) => kind.to_string(),
            Self::Raced => "raced".into(),
            Self::Vmgexit => "vmgexit".into(),
            Self::Ordinary => "ordinary".into(),
        }
    }
}

/// How an attempt ended, as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    /// the guest is to repeat the message later
    Busy,
    /// the firmware's status
    Firmware(u32),
    /// another code of the VMM's
    Vmm(u32),
    /// KVM rejected the GHCB
    Malformed(u64),
    /// KVM_RUN failed
    Errno(i32),
    /// KVM_RUN returned for another reason than the guest's HLT
    Exit(u32),
}

impl Outcome {
    /// Whether the guest got an answer; if not, it still waits.
    pub fn is_answer(self) -> bool {
        !matches!(self, Self::Errno(_) | Self::Exit(_))
    }

    pub fn from_exit_info(info_1: u64, info_2: u64) -> Self {
        if info_1 as u32 == INFO_1_MALFORMED {
            return Self::Malformed(info_2);
        }
        match ((info_2 >> 32) as u32, info_2 as u32) {
            (0, 0) => Self::Ok,
            (0, status) => Self::Firmware(status),
            (VMM_BUSY, _) => Self::Busy,
            (vmm, _) => Self::Vmm(vmm),
        }
    }

    pub fn key(self) -> String {
        match self {
            Self::Ok => "ok".into(),
            Self::Busy => "busy".into(),
            Self::Firmware(status) => format!("fw:{status:#x}"),
            Self::Vmm(code) => format!("vmm:{code:#x}"),
            Self::Malformed(reason) => format!("ghcb:{reason:#x}"),
            Self::Errno(errno) => format!("errno:{errno}"),
            Self::Exit(reason) => format!("exit:{reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_info_has_two_halves() {
        let of = |info_2| Outcome::from_exit_info(0, info_2);
        assert_eq!(of(0), Outcome::Ok);
        assert_eq!(of(0x16), Outcome::Firmware(0x16));
        assert_eq!(of(2 << 32), Outcome::Busy);
        assert_eq!(of(1 << 32), Outcome::Vmm(1));
        assert_eq!(of(0xffff_ffff << 32), Outcome::Vmm(0xffff_ffff));
        assert_eq!(Outcome::from_exit_info(2, 5), Outcome::Malformed(5));
    }

    #[test]
    fn a_vmm_that_stops_gives_no_answer() {
        assert!(Outcome::Busy.is_answer() && Outcome::Firmware(0x16).is_answer());
        assert!(!Outcome::Errno(1).is_answer() && !Outcome::Exit(8).is_answer());
    }
}
