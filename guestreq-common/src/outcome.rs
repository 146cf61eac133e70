//! # How a request ended
//!
//! One small number per request: the firmware's status where the PSP answered,
//! or one of ours where it did not. Statuses: `sev_ret_code` in
//! include/uapi/linux/psp-sev.h, and the SEV-SNP Firmware ABI's "Status Codes".

/// Room for outcomes in tables; a power of two, so that a mask bounds an index.
pub const OUTCOMES: usize = 64;

pub const OK: u8 = 0;
/// A firmware status beyond the ones listed here.
pub const UNKNOWN_STATUS: u8 = 60;
/// Refused by policy before the PSP.
pub const DENIED: u8 = 61;
/// Sent back to be tried again, before the PSP.
pub const BUSY: u8 = 62;
/// The host failed: no firmware status exists.
pub const HOST_ERROR: u8 = 63;

/// What ccp stores where no command reached the firmware (SEV_RET_NO_FW_CALL).
const NO_FIRMWARE_CALL: u32 = u32::MAX;

/// The outcome of a command from what `__sev_do_cmd_locked` returned and stored.
#[inline(always)]
pub const fn of_command(ret: i32, status: u32) -> u8 {
    if ret == 0 {
        OK
    } else if status == 0 || status == NO_FIRMWARE_CALL {
        // A timeout, a dead PSP, a bad descriptor: ccp failed before or without an answer.
        HOST_ERROR
    } else if status < UNKNOWN_STATUS as u32 {
        status as u8
    } else {
        UNKNOWN_STATUS
    }
}

/// The name users see.
pub const fn name(outcome: u8) -> &'static str {
    match outcome {
        OK => "ok",
        0x01 => "invalid_platform_state",
        0x02 => "invalid_guest_state",
        0x03 => "invalid_config",
        0x04 => "invalid_length",
        0x05 => "already_owned",
        0x06 => "invalid_certificate",
        0x07 => "policy_failure",
        0x08 => "inactive",
        0x09 => "invalid_address",
        0x0a => "bad_signature",
        0x0b => "bad_measurement",
        0x0c => "asid_owned",
        0x0d => "invalid_asid",
        0x0e => "wbinvd_required",
        0x0f => "df_flush_required",
        0x10 => "invalid_guest",
        0x11 => "invalid_command",
        0x12 => "active",
        0x13 => "hardware_error_platform",
        0x14 => "hardware_error_unsafe",
        0x15 => "unsupported",
        0x16 => "invalid_param",
        0x17 => "resource_limit",
        0x18 => "secure_data_invalid",
        0x19 => "invalid_page_size",
        0x1a => "invalid_page_state",
        0x1b => "invalid_mdata_entry",
        0x1c => "invalid_page_owner",
        0x1d => "aead_oflow",
        0x1f => "exit_ring_buffer",
        0x20 => "rmp_init_required",
        0x21 => "bad_svn",
        0x22 => "bad_version",
        0x23 => "shutdown_required",
        0x24 => "update_failed",
        0x25 => "restore_required",
        0x26 => "rmp_initialization_failed",
        0x27 => "invalid_key",
        0x28 => "shutdown_incomplete",
        0x30 => "incorrect_buffer_length",
        0x31 => "expand_buffer_length_request",
        0x32 => "spdm_request",
        0x33 => "spdm_error",
        DENIED => "denied",
        BUSY => "busy",
        HOST_ERROR => "host_error",
        _ => "unknown_status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_ok_whatever_was_stored() {
        assert_eq!(of_command(0, 0), OK);
        assert_eq!(of_command(0, 0x16), OK);
    }

    #[test]
    fn a_failure_without_a_status_is_the_host_s() {
        for errno in [-5, -16, -110, -9] {
            assert_eq!(of_command(errno, 0), HOST_ERROR);
            assert_eq!(of_command(errno, NO_FIRMWARE_CALL), HOST_ERROR);
        }
    }

    #[test]
    fn every_status_keeps_its_number_or_folds() {
        for status in 1..=0xffffu32 {
            let outcome = of_command(-5, status);
            if status < u32::from(UNKNOWN_STATUS) {
                assert_eq!(u32::from(outcome), status);
            } else {
                assert_eq!(outcome, UNKNOWN_STATUS);
            }
            assert!(usize::from(outcome) < OUTCOMES);
        }
        assert_eq!(name(of_command(-5, 0x16)), "invalid_param");
        assert_eq!(name(of_command(-5, 0x1d)), "aead_oflow");
        assert_eq!(name(of_command(-5, 0x3fff)), "unknown_status");
    }

    /// `sev_ret_code` of Linux 7.3, by number, without SEV_RET_.
    const KERNEL: &str = include_str!("outcome/names.txt");

    #[test]
    fn a_status_is_called_as_the_kernel_calls_it_but_for_its_odd_words() {
        let mut names = [name(UNKNOWN_STATUS); OUTCOMES];
        // Said of a device that is assigned to a guest, never of a guest's request as it is now.
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
        names[usize::from(OK)] = "ok";
        names[usize::from(DENIED)] = "denied";
        names[usize::from(BUSY)] = "busy";
        names[usize::from(HOST_ERROR)] = "host_error";
        for (outcome, expected) in names.into_iter().enumerate() {
            assert_eq!(name(outcome as u8), expected, "{outcome:#x}");
        }
    }
}
