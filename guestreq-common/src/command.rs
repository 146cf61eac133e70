//! # PSP commands
//!
//! Every SEV and SNP command of a host goes through ccp's `__sev_do_cmd_locked`, one at a time.
//! Numbers and names: `enum sev_cmd` in include/linux/psp-sev.h; SEV-TIO commands that mainline
//! lacks are named as in the patch series.

pub const SNP_DECOMMISSION: u32 = 0x90;
pub const SNP_ACTIVATE: u32 = 0x91;
pub const SNP_GCTX_CREATE: u32 = 0x93;
pub const SNP_GUEST_REQUEST: u32 = 0x94;
pub const SNP_LAUNCH_START: u32 = 0xa0;
/// Measures one page of memory, or one vCPU's registers.
pub const SNP_LAUNCH_UPDATE: u32 = 0xa1;
pub const SNP_LAUNCH_FINISH: u32 = 0xa2;
/// Loads firmware into a running PSP.
pub const SNP_DOWNLOAD_FIRMWARE_EX: u32 = 0xca;
/// A guest's message about its devices. KVM hands it to the VMM, whose ioctl(2) sends it through
/// `sev_do_cmd`: neither the gate nor the stages of a request see it.
pub const TIO_GUEST_REQUEST: u32 = 0xe0;

/// Whether the command's data begins with a guest context's address: `struct sev_data_snp_*` in
/// include/linux/psp-sev.h.
#[inline(always)]
pub const fn names_context(command: u32) -> bool {
    matches!(command, 0x90..=0x94 | 0xa0..=0xa2 | 0xb0 | 0xb1)
}

/// Whether the command proves that its guest context exists, so that the context gets a record:
/// the command creates or launches it, or serves its guest. Ending or examining an unseen context
/// creates none.
#[inline(always)]
pub const fn begins_vm(command: u32) -> bool {
    launches(command) || command == SNP_GUEST_REQUEST
}

/// Whether the command is part of the launch of the guest context that it names.
#[inline(always)]
pub const fn launches(command: u32) -> bool {
    matches!(
        command,
        SNP_ACTIVATE | SNP_GCTX_CREATE | SNP_LAUNCH_START | SNP_LAUNCH_UPDATE | SNP_LAUNCH_FINISH
    )
}

/// Whether the command belongs to the VM of the process that issues it: its data names no VM at an
/// offset that all kernels share.
#[inline(always)]
pub const fn is_of_process(command: u32) -> bool {
    command == TIO_GUEST_REQUEST
}

/// Rows for commands in tables; larger numbers share the last.
pub const COMMANDS: usize = 256;

#[inline(always)]
pub const fn index_of(command: u32) -> usize {
    if command < COMMANDS as u32 { command as usize } else { COMMANDS - 1 }
}

named_enum! {
    /// What the PSP spends time on for a VM.
    pub enum Class {
        Request = 0 => "request",
        Launch = 1 => "launch",
        Other = 2 => "other",
    }
}

pub const CLASSES: usize = Class::ALL.len();

impl Class {
    /// Launch commands come from the VMM before its guest can run.
    #[inline(always)]
    pub const fn of(command: u32) -> Class {
        match command {
            SNP_GUEST_REQUEST => Class::Request,
            0x91 | 0x93 | 0x95 | 0xa0..=0xa2 | 0x21 | 0x30..=0x35 => Class::Launch,
            _ => Class::Other,
        }
    }
}

/// The kernel's name in lower case, without SEV_CMD_; `None` for unlisted numbers.
pub const fn name(command: u32) -> Option<&'static str> {
    Some(match command {
        0x01 => "init",
        0x02 => "shutdown",
        0x03 => "factory_reset",
        0x04 => "platform_status",
        0x05 => "pek_gen",
        0x06 => "pek_csr",
        0x07 => "pek_cert_import",
        0x08 => "pdh_cert_export",
        0x09 => "pdh_gen",
        0x0a => "df_flush",
        0x0b => "download_firmware",
        0x0c => "get_id",
        0x0d => "init_ex",
        0x20 => "decommission",
        0x21 => "activate",
        0x22 => "deactivate",
        0x23 => "guest_status",
        0x30 => "launch_start",
        0x31 => "launch_update_data",
        0x32 => "launch_update_vmsa",
        0x33 => "launch_measure",
        0x34 => "launch_update_secret",
        0x35 => "launch_finish",
        0x36 => "attestation_report",
        0x40 => "send_start",
        0x41 => "send_update_data",
        0x42 => "send_update_vmsa",
        0x43 => "send_finish",
        0x44 => "send_cancel",
        0x50 => "receive_start",
        0x51 => "receive_update_data",
        0x52 => "receive_update_vmsa",
        0x53 => "receive_finish",
        0x60 => "dbg_decrypt",
        0x61 => "dbg_encrypt",
        0x81 => "snp_init",
        0x82 => "snp_shutdown",
        0x83 => "snp_platform_status",
        0x84 => "snp_df_flush",
        0x85 => "snp_init_ex",
        0x86 => "snp_shutdown_ex",
        0x90 => "snp_decommission",
        0x91 => "snp_activate",
        0x92 => "snp_guest_status",
        0x93 => "snp_gctx_create",
        0x94 => "snp_guest_request",
        0x95 => "snp_activate_ex",
        0xa0 => "snp_launch_start",
        0xa1 => "snp_launch_update",
        0xa2 => "snp_launch_finish",
        0xb0 => "snp_dbg_decrypt",
        0xb1 => "snp_dbg_encrypt",
        0xb2 => "snp_verify_mitigation",
        0xc0 => "snp_page_swap_out",
        0xc1 => "snp_page_swap_in",
        0xc2 => "snp_page_move",
        0xc3 => "snp_page_md_init",
        0xc6 => "snp_page_set_state",
        0xc7 => "snp_page_reclaim",
        0xc8 => "snp_page_unsmash",
        0xc9 => "snp_config",
        0xca => "snp_download_firmware_ex",
        0xcb => "snp_commit",
        0xcd => "snp_vlek_load",
        0xce => "snp_feature_info",
        0xd0 => "tio_status",
        0xd1 => "tio_init",
        0xd2 => "tio_dev_create",
        0xd3 => "tio_dev_reclaim",
        0xd4 => "tio_dev_connect",
        0xd5 => "tio_dev_disconnect",
        0xd6 => "tio_dev_status",
        0xd7 => "tio_dev_measurements",
        0xd8 => "tio_dev_certificates",
        0xda => "tio_tdi_create",
        0xdb => "tio_tdi_reclaim",
        0xdc => "tio_tdi_bind",
        0xdd => "tio_tdi_unbind",
        0xde => "tio_tdi_report",
        0xdf => "tio_tdi_status",
        0xe0 => "tio_guest_request",
        0xe1 => "tio_asid_fence_clear",
        0xe2 => "tio_asid_fence_status",
        0xe3 => "tio_tdi_info",
        0xe4 => "tio_roll_key",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_row_and_strangers_share_the_last() {
        for command in 0..0x1000u32 {
            let index = index_of(command);
            assert!(index < COMMANDS);
            if command < 255 {
                assert_eq!(index, command as usize);
            } else {
                assert_eq!(index, 255);
            }
        }
        assert_eq!(index_of(u32::MAX), 255);
        assert_eq!(name(255), None);
    }

    /// `enum sev_cmd` of Linux 7.3, by number, without SEV_CMD_; from 0xd6 on, what the patch series for
    /// SEV-TIO add to it.
    const KERNEL: &str = include_str!("command/names.txt");

    #[test]
    fn a_command_is_called_as_the_kernel_calls_it() {
        let mut names = std::collections::BTreeMap::new();
        for (number, name) in KERNEL.lines().filter_map(|line| line.split_once(' ')) {
            let number = u32::from_str_radix(&number[2..], 16).expect("a number");
            names.insert(number, name.to_lowercase());
        }
        for command in 0..0x1000 {
            let listed = names.get(&command).map(String::as_str);
            assert_eq!(name(command), listed, "{command:#x}");
        }
    }

    fn names_of(which: impl Fn(u32) -> bool) -> Vec<&'static str> {
        (0..0x1000).filter(|command| which(*command)).filter_map(name).collect()
    }

    /// Whose data begin with the address of a guest context, in include/linux/psp-sev.h.
    const ABOUT_A_GUEST: [&str; 10] = [
        "snp_decommission",
        "snp_activate",
        "snp_guest_status",
        "snp_gctx_create",
        "snp_guest_request",
        "snp_launch_start",
        "snp_launch_update",
        "snp_launch_finish",
        "snp_dbg_decrypt",
        "snp_dbg_encrypt",
    ];

    #[test]
    fn a_vm_begins_with_what_is_done_for_its_guest_and_not_with_what_ends_or_examines_it() {
        assert_eq!(names_of(names_context), ABOUT_A_GUEST);
        let begin = ABOUT_A_GUEST.into_iter().filter(|name| {
            !["snp_decommission", "snp_guest_status"].contains(name) && !name.contains("_dbg_")
        });
        assert_eq!(names_of(begins_vm), begin.collect::<Vec<_>>());
    }

    #[test]
    fn a_launch_is_a_launch() {
        assert_eq!(Class::of(SNP_GUEST_REQUEST), Class::Request);
        for command in [0x91, 0x93, SNP_LAUNCH_START, 0xa1, 0xa2] {
            assert_eq!(Class::of(command), Class::Launch);
        }
        for command in [0x04, 0x83, SNP_DECOMMISSION, 0xc7, TIO_GUEST_REQUEST] {
            assert_eq!(Class::of(command), Class::Other);
        }
    }

    #[test]
    fn a_launch_s_commands_name_its_context() {
        for command in 0..COMMANDS as u32 {
            if launches(command) {
                assert!(names_context(command) && begins_vm(command));
                assert_eq!(Class::of(command), Class::Launch);
            }
        }
        let names = [
            "snp_activate",
            "snp_gctx_create",
            "snp_launch_start",
            "snp_launch_update",
            "snp_launch_finish",
        ];
        assert_eq!(names_of(launches), names);
    }

    #[test]
    fn a_message_about_devices_is_its_vmm_s_and_no_guest_request() {
        assert_eq!(name(TIO_GUEST_REQUEST), Some("tio_guest_request"));
        for command in 0..COMMANDS as u32 {
            assert_eq!(is_of_process(command), command == TIO_GUEST_REQUEST);
            assert!(!(is_of_process(command) && (names_context(command) || begins_vm(command))));
        }
    }
}
