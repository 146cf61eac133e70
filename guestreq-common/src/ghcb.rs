//! # The guest-hypervisor communication block
//!
//! Offsets and codes: GHCB standardization (AMD 56421) and arch/x86/include/asm/svm.h. The guest can
//! write the page at any time, so it only decides what is counted, never what is allowed.

use crate::gate;

/// Offsets of `save.sw_exit_code` and `save.sw_exit_info_2`.
pub const SW_EXIT_CODE: u64 = 0x390;
pub const SW_EXIT_INFO_2: u64 = 0x3a0;

pub const GUEST_REQUEST: u64 = 0x8000_0011;
pub const EXTENDED_GUEST_REQUEST: u64 = 0x8000_0012;

/// For the exit code of a guest request, whether it is an extended one.
#[inline(always)]
pub const fn request(code: u64) -> Option<bool> {
    match code {
        GUEST_REQUEST => Some(false),
        EXTENDED_GUEST_REQUEST => Some(true),
        _ => None,
    }
}

named_enum! {
    /// The result that the guest gets at its next entry.
    pub enum GuestStatus {
        Ok = 0 => "ok",
        FirmwareError = 1 => "firmware_error",
        InvalidLength = 2 => "invalid_length",
        Busy = 3 => "busy",
        Generic = 4 => "generic_error",
    }
}

/// Rows for statuses in tables; a power of two, so that a mask bounds an index.
pub const GUEST_STATUSES: usize = 8;

impl GuestStatus {
    /// From `sw_exit_info_2`: the VMM's code in the high half, the firmware's in the low.
    #[inline(always)]
    pub const fn of(info2: u64) -> GuestStatus {
        match info2 >> 32 {
            0 if info2 as u32 == 0 => GuestStatus::Ok,
            // The gate has not yet replaced it.
            0 if info2 as u32 == gate::BUSY_STATUS => GuestStatus::Busy,
            0 => GuestStatus::FirmwareError,
            1 => GuestStatus::InvalidLength,
            2 => GuestStatus::Busy,
            _ => GuestStatus::Generic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_read() {
        assert_eq!(GuestStatus::of(0), GuestStatus::Ok);
        assert_eq!(GuestStatus::of(0x16), GuestStatus::FirmwareError);
        assert_eq!(GuestStatus::of(1 << 32), GuestStatus::InvalidLength);
        assert_eq!(GuestStatus::of(2 << 32), GuestStatus::Busy);
        assert_eq!(GuestStatus::of(u64::from(gate::BUSY_STATUS)), GuestStatus::Busy);
        assert_eq!(GuestStatus::of(0xffff_ffff_0000_0000), GuestStatus::Generic);
        assert_eq!(GuestStatus::of(u64::MAX), GuestStatus::Generic);
    }

    #[test]
    fn only_two_exits_are_requests() {
        assert_eq!(request(GUEST_REQUEST), Some(false));
        assert_eq!(request(EXTENDED_GUEST_REQUEST), Some(true));
        assert_eq!(request(0x8000_0010), None);
        assert_eq!(request(0x7b), None);
    }
}
