//! # Guest messages
//!
//! A plaintext header as the SEV-SNP firmware ABI defines it, and a payload, which would be
//! encrypted. The fake firmware decrypts nothing, so the payload stays zero.

/// Size of a guest page and of a message.
pub const PAGE: usize = 4096;
/// Size of the header, which it contains.
pub const HEADER: usize = 0x60;
/// The header's payload length; nothing reads the payload.
const PAYLOAD: u16 = 0x60;
/// Offset of the message type in the header.
pub const MESSAGE_TYPE: usize = 0x34;
const ALGO_AES_256_GCM: u8 = 1;
const HEADER_VERSION: u8 = 1;
const MESSAGE_VERSION: u8 = 1;

/// Names for `--type` and their numbers; requests have odd ones.
pub const TYPES: [(&str, u8); 9] = [
    ("cpuid", 1),
    ("key", 3),
    ("report", 5),
    ("export", 7),
    ("import", 9),
    ("absorb", 11),
    ("vmrk", 13),
    ("absorb_noma", 15),
    ("tsc_info", 17),
];

/// What a guest chooses for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    pub seqno: u64,
    pub kind: u8,
    pub vmpck: u8,
    pub header_version: u8,
}

impl Message {
    /// A valid message.
    pub fn new(kind: u8, vmpck: u8, seqno: u64) -> Self {
        Self { seqno, kind, vmpck, header_version: HEADER_VERSION }
    }

    /// The header at the start of the page.
    pub fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0x20..0x28].copy_from_slice(&self.seqno.to_le_bytes());
        header[0x30] = ALGO_AES_256_GCM;
        header[0x31] = self.header_version;
        header[0x32..0x34].copy_from_slice(&(HEADER as u16).to_le_bytes());
        header[MESSAGE_TYPE] = self.kind;
        header[0x35] = MESSAGE_VERSION;
        header[0x36..0x38].copy_from_slice(&PAYLOAD.to_le_bytes());
        header[0x3c] = self.vmpck;
        header
    }
}

/// All bytes 0xff, as from a guest that writes garbage.
pub const ALL_ONES: [u8; HEADER] = [0xff; HEADER];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_abi_has_them() {
        let header = Message::new(5, 2, 0x0102_0304_0506_0708).header();
        assert_eq!(header[0x20..0x28], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(header[0x30..0x38], [1, 1, 0x60, 0, 5, 1, 0x60, 0]);
        assert_eq!(header[0x3c], 2);
        assert!(header[..0x20].iter().all(|b| *b == 0), "no authentication tag");
        assert!(header[0x3d..].iter().all(|b| *b == 0), "nothing after the header");
    }

    #[test]
    fn every_named_type_is_a_request() {
        for (name, number) in TYPES {
            assert_eq!(number % 2, 1, "{name}");
        }
    }
}
