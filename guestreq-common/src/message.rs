//! # The guest message header and its types
//!
//! The header is plaintext that the guest wrote: every field is hostile input.
//! Layout: SEV-SNP Firmware ABI (AMD 56860), table "Message Header"; Linux's
//! `struct snp_guest_msg_hdr`. Types: `enum msg_type` in
//! arch/x86/include/asm/sev.h, numbers 19 to 26 from the SEV-TIO specification,
//! whose messages come by another command ([`crate::command::TIO_GUEST_REQUEST`]).

/// Bytes of the plaintext header; the payload follows.
pub const HEADER_SIZE: usize = 0x60;
/// Where the part that we read begins: the authentication tag stands before it.
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

/// What is kept of a message while its request is on its way.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub seqno: u64,
    pub message_type: u8,
    /// The row of its type in every table.
    pub kind: u8,
    pub vmpck: u8,
}

impl Summary {
    /// Of a message that could not be read.
    pub const UNKNOWN: Summary =
        Summary { seqno: 0, message_type: 0, kind: Kind::Unknown as u8, vmpck: 0 };

    #[inline(always)]
    pub const fn of(header: &Header) -> Summary {
        let Header { seqno, message_type, vmpck, .. } = *header;
        Summary { seqno, message_type, kind: Kind::index_of(message_type), vmpck }
    }

    /// Field by field: of an assignment of the whole the compiler makes a call, as it cannot see
    /// that two records are not one.
    #[inline(always)]
    pub fn copy_from(&mut self, other: &Summary) {
        let Summary { seqno, message_type, kind, vmpck } = *other;
        *self = Summary { seqno, message_type, kind, vmpck };
    }
}

impl Default for Summary {
    fn default() -> Summary {
        Summary::UNKNOWN
    }
}

/// VMPCKs of a guest.
pub const VMPCKS: usize = 4;

/// Room for kinds of messages in tables; a power of two, so that a mask bounds an index.
pub const KINDS: usize = 16;

/// What a guest asks for: a request's number, folded so that a guest cannot invent values.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Cpuid = 0,
    Key = 1,
    Report = 2,
    Export = 3,
    Import = 4,
    Absorb = 5,
    Vmrk = 6,
    AbsorbNoma = 7,
    TscInfo = 8,
    TioTdiInfo = 9,
    TioMmioValidate = 10,
    TioMmioConfig = 11,
    TioSdteWrite = 12,
    /// A response's number, or one that no specification lists.
    Unknown = 13,
}

/// Requests have the odd numbers 1 to 25.
static INDEX: [u8; 256] = {
    let mut index = [Kind::Unknown as u8; 256];
    let mut number = 1;
    while number <= 25 {
        index[number] = (number >> 1) as u8;
        number += 2;
    }
    index
};

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::Cpuid,
        Kind::Key,
        Kind::Report,
        Kind::Export,
        Kind::Import,
        Kind::Absorb,
        Kind::Vmrk,
        Kind::AbsorbNoma,
        Kind::TscInfo,
        Kind::TioTdiInfo,
        Kind::TioMmioValidate,
        Kind::TioMmioConfig,
        Kind::TioSdteWrite,
        Kind::Unknown,
    ];

    /// The index of a message type's row in every table. Looked up and not computed: of a
    /// computed one the compiler knows the range and drops the mask that the verifier needs.
    #[inline(always)]
    pub const fn index_of(message_type: u8) -> u8 {
        INDEX[message_type as usize]
    }

    pub fn of(message_type: u8) -> Kind {
        Self::ALL[Self::index_of(message_type) as usize]
    }

    /// The name users see: in metrics, on the command line, in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Cpuid => "cpuid",
            Kind::Key => "key",
            Kind::Report => "report",
            Kind::Export => "export",
            Kind::Import => "import",
            Kind::Absorb => "absorb",
            Kind::Vmrk => "vmrk",
            Kind::AbsorbNoma => "absorb_noma",
            Kind::TscInfo => "tsc_info",
            Kind::TioTdiInfo => "tio_tdi_info",
            Kind::TioMmioValidate => "tio_mmio_validate",
            Kind::TioMmioConfig => "tio_mmio_config",
            Kind::TioSdteWrite => "tio_sdte_write",
            Kind::Unknown => "unknown",
        }
    }

    /// Kinds that an ordinary Linux guest uses; their series exist from the start.
    pub const ORDINARY: [Kind; 3] = [Kind::Report, Kind::Key, Kind::TscInfo];
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
            let kind = Kind::of(number);
            let listed = number % 2 == 1 && number <= 25;
            assert_eq!(kind != Kind::Unknown, listed, "type {number}");
            if listed {
                assert_eq!(kind as u8, number / 2);
            }
        }
        assert_eq!(Kind::of(5), Kind::Report);
        assert_eq!(Kind::of(6), Kind::Unknown, "responses are not requests");
        assert_eq!(Kind::of(17), Kind::TscInfo);
    }

    #[test]
    fn rows_and_names_are_distinct() {
        for (i, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, i);
            assert!(i < KINDS);
            assert!(Kind::ALL[..i].iter().all(|other| other.name() != kind.name()));
        }
    }
}
