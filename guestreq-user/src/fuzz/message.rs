//! # Message headers and GHCB fields
//!
//! Compared with a second reader, written after the specifications.

use guestreq_common::{
    ghcb::{self, GuestStatus},
    message::{HEADER_OFFSET, HEADER_SIZE, Header, MessageType},
};

use super::Input;

/// Input: a guest's message, then a GHCB's exit code and second exit information.
pub fn message(data: &[u8]) {
    let mut input = Input(data);
    let message: [u8; HEADER_SIZE] = input.bytes();
    header(&message);
    kind(message[0x34]);
    exit(input.u64(), input.u64());
}

fn header(message: &[u8; HEADER_SIZE]) {
    let from = HEADER_OFFSET as usize;
    assert!(from + size_of::<Header>() <= message.len());
    // SAFETY: as many bytes as a header has, of integers only; read as a program reads them.
    let header = unsafe { message.as_ptr().add(from).cast::<Header>().read_unaligned() };
    // SEV-SNP Firmware ABI (AMD 56860), table "Message Header".
    let number = |at: usize, bytes: usize| {
        let bytes = message[at..at + bytes].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    assert_eq!(header.seqno, number(0x20, 8));
    assert_eq!(header.reserved1, number(0x28, 8));
    assert_eq!(u64::from(header.algorithm), number(0x30, 1));
    assert_eq!(u64::from(header.version), number(0x31, 1));
    assert_eq!(u64::from(header.size), number(0x32, 2));
    assert_eq!(u64::from(header.message_type), number(0x34, 1));
    assert_eq!(u64::from(header.message_version), number(0x35, 1));
    assert_eq!(u64::from(header.message_size), number(0x36, 2));
    assert_eq!(u64::from(header.reserved2), number(0x38, 4));
    assert_eq!(u64::from(header.vmpck), number(0x3c, 1));
    assert_eq!(header.reserved3, message[0x3d..0x40]);
}

fn kind(message_type: u8) {
    let name = match message_type {
        1 => "cpuid",
        3 => "key",
        5 => "report",
        7 => "export",
        9 => "import",
        11 => "absorb",
        13 => "vmrk",
        15 => "absorb_noma",
        17 => "tsc_info",
        19 => "tio_tdi_info",
        21 => "tio_mmio_validate",
        23 => "tio_mmio_config",
        25 => "tio_sdte_write",
        _ => "unknown",
    };
    assert_eq!(MessageType::of(message_type).name(), name);
    assert_eq!(MessageType::of(message_type) as u8, MessageType::row_of(message_type));
}

/// GHCB standardization (AMD 56421), table "List of Supported Non-Automatic Events".
fn exit(code: u64, info2: u64) {
    let request = match code {
        0x8000_0011 => Some(false),
        0x8000_0012 => Some(true),
        _ => None,
    };
    assert_eq!(ghcb::request(code), request);
    let (vmm, firmware) = (info2 >> 32, info2 & 0xffff_ffff);
    let status = match (vmm, firmware) {
        (0, 0) => GuestStatus::Ok,
        // "GATE": what the gate leaves until KVM writes 2 << 32 over it.
        (0, 0x4741_5445) | (2, _) => GuestStatus::Busy,
        (0, _) => GuestStatus::FirmwareError,
        (1, _) => GuestStatus::InvalidLength,
        _ => GuestStatus::Generic,
    };
    assert_eq!(GuestStatus::of(info2), status);
}
