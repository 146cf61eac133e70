//! # The guest message header and its types
//!
//! The header is plaintext from the guest: every field is hostile input. Layout: SEV-SNP Firmware ABI
//! (AMD 56860), table "Message Header"; Linux's `struct snp_guest_msg_hdr`. Types: `enum msg_type` in
//! arch/x86/include/asm/sev.h; 19 to 26: SEV-TIO specification, whose messages use another command
//! ([`crate::command::TIO_GUEST_REQUEST`]).

/// Bytes of the plaintext header; the payload follows.
pub const HEADER_SIZE: usize = 0x60;
/// Where [`Header`] begins, after the authentication tag.
pub const HEADER_OFFSET: u64 = 0x20;

/// Bytes 0x20 to 0x40 of a message header, as the PSP will read them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Message sequence number: one counter per VMPCK, up by two per success.
    pub seqno: u64,
    pub reserved1: u64,
    /// 1 is AES-256-GCM.
    pub algorithm: u8,
    pub version: u8,
    /// [`HEADER_SIZE`] in a well-formed message.
    pub size: u16,
    pub message_type: u8,
    pub message_version: u8,
    pub message_size: u16,
    pub reserved2: u32,
    /// The VM platform communication key, 0 to 3.
    pub vmpck: u8,
    pub reserved3: [u8; 3],
}

/// What a request's records keep of its message.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub seqno: u64,
    pub message_type: u8,
    /// [`MessageType`], the row in tables.
    pub row: u8,
    pub vmpck: u8,
}

impl Summary {
    /// Of an unreadable message.
    pub const UNKNOWN: Summary =
        Summary { seqno: 0, message_type: 0, row: MessageType::Unknown as u8, vmpck: 0 };

    #[inline(always)]
    pub const fn of(header: &Header) -> Summary {
        let Header { seqno, message_type, vmpck, .. } = *header;
        Summary { seqno, message_type, row: MessageType::row_of(message_type), vmpck }
    }

    /// Field by field: for a whole assignment the compiler emits a call, as it cannot see that the
    /// records are distinct.
    #[inline(always)]
    pub fn copy_from(&mut self, other: &Summary) {
        let Summary { seqno, message_type, row, vmpck } = *other;
        *self = Summary { seqno, message_type, row, vmpck };
    }
}

impl Default for Summary {
    fn default() -> Summary {
        Summary::UNKNOWN
    }
}

/// VMPCKs of a guest.
pub const VMPCKS: usize = 4;

/// Rows for message types in tables; a power of two, so that a mask bounds an index.
pub const MESSAGE_TYPES: usize = 16;

named_enum! {
    /// A message type, folded so that a guest cannot invent values. Its number is its row in tables.
    pub enum MessageType {
        Cpuid = 0 => "cpuid",
        Key = 1 => "key",
        Report = 2 => "report",
        Export = 3 => "export",
        Import = 4 => "import",
        Absorb = 5 => "absorb",
        Vmrk = 6 => "vmrk",
        AbsorbNoma = 7 => "absorb_noma",
        TscInfo = 8 => "tsc_info",
        TioTdiInfo = 9 => "tio_tdi_info",
        TioMmioValidate = 10 => "tio_mmio_validate",
        TioMmioConfig = 11 => "tio_mmio_config",
        TioSdteWrite = 12 => "tio_sdte_write",
        /// A response's number, or one that no specification lists.
        Unknown = 13 => "unknown",
    }
}

const _: () = assert!(MessageType::ALL.len() <= MESSAGE_TYPES);

/// Rows by number: requests have the odd numbers 1 to 25.
static ROW: [u8; 256] = {
    let mut row = [MessageType::Unknown as u8; 256];
    let mut number = 1;
    while number <= 25 {
        row[number] = (number >> 1) as u8;
        number += 2;
    }
    row
};

impl MessageType {
    /// A number's row. Looked up, not computed: the compiler would know the range of a computed
    /// one and drop the mask that the verifier needs.
    #[inline(always)]
    pub const fn row_of(message_type: u8) -> u8 {
        ROW[message_type as usize]
    }

    pub fn of(message_type: u8) -> MessageType {
        Self::ALL[Self::row_of(message_type) as usize]
    }

    /// What ordinary Linux guests send; their series exist from the start.
    pub const ORDINARY: [MessageType; 3] =
        [MessageType::Report, MessageType::Key, MessageType::TscInfo];
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn header_has_the_specification_s_offsets() {
        let at = |field: usize| field + HEADER_OFFSET as usize;
        assert_eq!(at(offset_of!(Header, seqno)), 0x20);
        assert_eq!(at(offset_of!(Header, algorithm)), 0x30);
        assert_eq!(at(offset_of!(Header, version)), 0x31);
        assert_eq!(at(offset_of!(Header, size)), 0x32);
        assert_eq!(at(offset_of!(Header, message_type)), 0x34);
        assert_eq!(at(offset_of!(Header, message_version)), 0x35);
        assert_eq!(at(offset_of!(Header, message_size)), 0x36);
        assert_eq!(at(offset_of!(Header, vmpck)), 0x3c);
        assert_eq!(size_of::<Header>(), 0x20);
    }

    #[test]
    fn every_message_type_has_one_known_row() {
        for number in 0..=255u8 {
            let folded = MessageType::of(number);
            let listed = number % 2 == 1 && number <= 25;
            assert_eq!(folded != MessageType::Unknown, listed, "type {number}");
            if listed {
                assert_eq!(folded as u8, number / 2);
            }
        }
        assert_eq!(MessageType::of(5), MessageType::Report);
        assert_eq!(MessageType::of(6), MessageType::Unknown, "responses are not requests");
        assert_eq!(MessageType::of(17), MessageType::TscInfo);
    }
}
