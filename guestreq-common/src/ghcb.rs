//! # The guest-hypervisor communication block
//!
//! Offsets and codes of the GHCB that the tracepoints hand us, from the GHCB
//! standardization (AMD 56421) and arch/x86/include/asm/svm.h. The page is
//! shared with the guest: what is read from it may have been written a moment
//! ago, so it only ever decides what is counted, never what is allowed.

use crate::gate;

/// Offsets of `save.sw_exit_code` and `save.sw_exit_info_2`.
pub const SW_EXIT_CODE: u64 = 0x390;
pub const SW_EXIT_INFO_2: u64 = 0x3a0;

pub const GUEST_REQUEST: u64 = 0x8000_0011;
pub const EXTENDED_GUEST_REQUEST: u64 = 0x8000_0012;

/// Whether an exit code is a guest request, and if so whether an extended one.
#[inline(always)]
pub const fn request(code: u64) -> Option<bool> {
    match code {
        GUEST_REQUEST => Some(false),
        EXTENDED_GUEST_REQUEST => Some(true),
        _ => None,
    }
}

/// What the guest was told at its next entry.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Ok = 0,
    FirmwareError = 1,
    InvalidLength = 2,
    Busy = 3,
    Generic = 4,
}

pub const TOLD: usize = 8;

impl Told {
    pub const ALL: [Told; 5] =
        [Told::Ok, Told::FirmwareError, Told::InvalidLength, Told::Busy, Told::Generic];

    /// From `sw_exit_info_2`: the VMM's code in the high half, the firmware's in the low.
    #[inline(always)]
    pub const fn of(info2: u64) -> Told {
        match info2 >> 32 {
            0 if info2 as u32 == 0 => Told::Ok,
            // The gate has not yet written what the guest will read.
            0 if info2 as u32 == gate::BUSY_STATUS => Told::Busy,
            0 => Told::FirmwareError,
            1 => Told::InvalidLength,
            2 => Told::Busy,
            _ => Told::Generic,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Told::Ok => "ok",
            Told::FirmwareError => "firmware_error",
            Told::InvalidLength => "invalid_length",
            Told::Busy => "busy",
            Told::Generic => "generic_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_reads_both_halves() {
        assert_eq!(Told::of(0), Told::Ok);
        assert_eq!(Told::of(0x16), Told::FirmwareError);
        assert_eq!(Told::of(1 << 32), Told::InvalidLength);
        assert_eq!(Told::of(2 << 32), Told::Busy);
        assert_eq!(Told::of(u64::from(gate::BUSY_STATUS)), Told::Busy);
        assert_eq!(Told::of(0xffff_ffff_0000_0000), Told::Generic);
        assert_eq!(Told::of(u64::MAX), Told::Generic);
    }

    #[test]
    fn only_two_exits_are_requests() {
        assert_eq!(request(GUEST_REQUEST), Some(false));
        assert_eq!(request(EXTENDED_GUEST_REQUEST), Some(true));
        assert_eq!(request(0x8000_0010), None);
        assert_eq!(request(0x7b), None);
    }
}
