//! # Outcomes
//!
//! One number per request: the firmware's status where the PSP answered, or one of ours. Statuses:
//! `sev_ret_code` in include/uapi/linux/psp-sev.h, and the SEV-SNP Firmware ABI's "Status Codes".

/// Rows for outcomes in tables; a power of two, so that a mask bounds an index.
pub const OUTCOMES: usize = 64;

/// What happened to a request in the end: 0 to 63.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome(pub u8);

/// What ccp stores where no command reached the firmware (SEV_RET_NO_FW_CALL).
const NO_FIRMWARE_CALL: u32 = u32::MAX;

impl Outcome {
    pub const OK: Outcome = Outcome(0);
    /// A firmware status of 60 or more.
    pub const UNKNOWN_STATUS: Outcome = Outcome(60);
    /// Denied by policy, before the PSP.
    pub const DENIED: Outcome = Outcome(61);
    /// The guest got BUSY, before the PSP.
    pub const BUSY: Outcome = Outcome(62);
    /// The host failed: there is no firmware status.
    pub const HOST_ERROR: Outcome = Outcome(63);

    pub fn all() -> impl Iterator<Item = Outcome> {
        (0..OUTCOMES as u8).map(Outcome)
    }

    /// From what `__sev_do_cmd_locked` returned and stored.
    #[inline(always)]
    pub const fn of_command(ret: i32, status: u32) -> Outcome {
        if ret == 0 {
            Outcome::OK
        } else if status == 0 || status == NO_FIRMWARE_CALL {
            // A timeout, a dead PSP, a bad descriptor: ccp failed before or without an answer.
            Outcome::HOST_ERROR
        } else if status < Outcome::UNKNOWN_STATUS.0 as u32 {
            Outcome(status as u8)
        } else {
            Outcome::UNKNOWN_STATUS
        }
    }

    /// Whether the PSP answered a command: durations count only then.
    #[inline(always)]
    pub const fn is_answered(self) -> bool {
        self.0 != Outcome::HOST_ERROR.0
    }

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::OK => "ok",
            Outcome(0x01) => "invalid_platform_state",
            Outcome(0x02) => "invalid_guest_state",
            Outcome(0x03) => "invalid_config",
            Outcome(0x04) => "invalid_length",
            Outcome(0x05) => "already_owned",
            Outcome(0x06) => "invalid_certificate",
            Outcome(0x07) => "policy_failure",
            Outcome(0x08) => "inactive",
            Outcome(0x09) => "invalid_address",
            Outcome(0x0a) => "bad_signature",
            Outcome(0x0b) => "bad_measurement",
            Outcome(0x0c) => "asid_owned",
            Outcome(0x0d) => "invalid_asid",
            Outcome(0x0e) => "wbinvd_required",
            Outcome(0x0f) => "df_flush_required",
            Outcome(0x10) => "invalid_guest",
            Outcome(0x11) => "invalid_command",
            Outcome(0x12) => "active",
            Outcome(0x13) => "hardware_error_platform",
            Outcome(0x14) => "hardware_error_unsafe",
            Outcome(0x15) => "unsupported",
            Outcome(0x16) => "invalid_param",
            Outcome(0x17) => "resource_limit",
            Outcome(0x18) => "secure_data_invalid",
            Outcome(0x19) => "invalid_page_size",
            Outcome(0x1a) => "invalid_page_state",
            Outcome(0x1b) => "invalid_mdata_entry",
            Outcome(0x1c) => "invalid_page_owner",
            Outcome(0x1d) => "aead_oflow",
            Outcome(0x1f) => "exit_ring_buffer",
            Outcome(0x20) => "rmp_init_required",
            Outcome(0x21) => "bad_svn",
            Outcome(0x22) => "bad_version",
            Outcome(0x23) => "shutdown_required",
            Outcome(0x24) => "update_failed",
            Outcome(0x25) => "restore_required",
            Outcome(0x26) => "rmp_initialization_failed",
            Outcome(0x27) => "invalid_key",
            Outcome(0x28) => "shutdown_incomplete",
            Outcome(0x30) => "incorrect_buffer_length",
            Outcome(0x31) => "expand_buffer_length_request",
            Outcome(0x32) => "spdm_request",
            Outcome(0x33) => "spdm_error",
            Outcome::DENIED => "denied",
            Outcome::BUSY => "busy",
            Outcome::HOST_ERROR => "host_error",
            _ => "unknown_status",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_ok_whatever_was_stored() {
        assert_eq!(Outcome::of_command(0, 0), Outcome::OK);
        assert_eq!(Outcome::of_command(0, 0x16), Outcome::OK);
    }

    #[test]
    fn a_failure_without_a_status_is_the_host_s() {
        for errno in [-5, -16, -110, -9] {
            assert_eq!(Outcome::of_command(errno, 0), Outcome::HOST_ERROR);
            assert_eq!(Outcome::of_command(errno, NO_FIRMWARE_CALL), Outcome::HOST_ERROR);
        }
    }

    #[test]
    fn every_status_keeps_its_number_or_folds() {
        for status in 1..=0xffffu32 {
            let outcome = Outcome::of_command(-5, status);
            if status < u32::from(Outcome::UNKNOWN_STATUS.0) {
                assert_eq!(u32::from(outcome.0), status);
            } else {
                assert_eq!(outcome, Outcome::UNKNOWN_STATUS);
            }
            assert!(usize::from(outcome.0) < OUTCOMES);
        }
        assert_eq!(Outcome::of_command(-5, 0x16).name(), "invalid_param");
        assert_eq!(Outcome::of_command(-5, 0x1d).name(), "aead_oflow");
        assert_eq!(Outcome::of_command(-5, 0x3fff).name(), "unknown_status");
    }

    /// `sev_ret_code` of Linux 7.3, by number, without SEV_RET_.
    const KERNEL: &str = include_str!("outcome/names.txt");

    #[test]
    fn a_status_is_called_as_the_kernel_calls_it_except_for_misspellings() {
        let mut names = [Outcome::UNKNOWN_STATUS.name(); OUTCOMES];
        // About devices that are assigned to a guest, not about guest requests.
        let of_requests = |line: &&str| *line < "0x0034";
        let lines = KERNEL.lines().filter(of_requests);
        for (number, kernel) in lines.filter_map(|line| line.split_once(' ')) {
            let number = usize::from_str_radix(&number[2..], 16).expect("a number");
            let kernel = kernel
                .to_lowercase()
                .replace("inavlid", "invalid")
                .replace("invalid_len", "invalid_length")
                .replace("dfflush", "df_flush")
                .replace("hwsev_ret", "hardware_error");
            names[number] = kernel.leak();
        }
        names[usize::from(Outcome::OK.0)] = "ok";
        names[usize::from(Outcome::DENIED.0)] = "denied";
        names[usize::from(Outcome::BUSY.0)] = "busy";
        names[usize::from(Outcome::HOST_ERROR.0)] = "host_error";
        for (outcome, expected) in Outcome::all().zip(names) {
            assert_eq!(outcome.name(), expected, "{outcome:?}");
        }
    }
}
