//! # The GHCB
//!
//! The page through which an SEV-ES or SNP guest talks to its hypervisor: register values, each
//! with a valid bit, and an exit code.

const RAX: usize = 0x1f8;
const RBX: usize = 0x318;
pub const SW_EXIT_CODE: usize = 0x390;
pub const SW_EXIT_INFO_1: usize = 0x398;
pub const SW_EXIT_INFO_2: usize = 0x3a0;
pub const VALID_BITMAP: usize = 0x3f0;
/// A request changes nothing beyond this offset.
const END: usize = 0x400;

/// Offset and value of the protocol version; the usage after it stays 0.
pub const PROTOCOL_VERSION: usize = 0xff8;
pub const PROTOCOL: [u8; 8] = (2u64 << 16).to_le_bytes();

const EXIT_GUEST_REQUEST: u64 = 0x8000_0011;
const EXIT_EXT_GUEST_REQUEST: u64 = 0x8000_0012;
/// KVM answers it at once, without emulating a device or leaving to user space: the cheapest
/// unrelated VMGEXIT.
const EXIT_HV_FEATURES: u64 = 0x8000_fffd;

/// Port I/O, and its `sw_exit_info_1` for writing one byte.
const EXIT_IOIO: u64 = 0x7b;
const ONE_BYTE_OUT: u64 = 1 << 4;

/// The fields that the host reads for these exits.
pub const FIELDS: [usize; 7] =
    [RAX, RBX, SW_EXIT_CODE, SW_EXIT_INFO_1, SW_EXIT_INFO_2, VALID_BITMAP, VALID_BITMAP + 8];
/// Both kinds of requests, another exit, and an unknown one.
pub const EXIT_CODES: [u64; 5] =
    [EXIT_GUEST_REQUEST, EXIT_GUEST_REQUEST, EXIT_EXT_GUEST_REQUEST, EXIT_HV_FEATURES, 0x8bad_f00d];

/// The low half of `sw_exit_info_1` if KVM rejects the GHCB.
pub const INFO_1_MALFORMED: u32 = 2;

/// Low bits of the GHCB MSR by which a guest registers its GHCB.
pub const MSR_REGISTER: u64 = 0x12;

/// The part of a GHCB that a guest fills in for each VMGEXIT.
pub struct Ghcb([u8; END]);

impl Ghcb {
    fn new(exit_code: u64) -> Self {
        let mut ghcb = Self([0; END]);
        ghcb.set(SW_EXIT_CODE, exit_code);
        ghcb.set(SW_EXIT_INFO_1, 0);
        ghcb.set(SW_EXIT_INFO_2, 0);
        ghcb
    }

    /// A guest request, with request and response page.
    pub fn request(request: u64, response: u64) -> Self {
        let mut ghcb = Self::new(EXIT_GUEST_REQUEST);
        ghcb.set(SW_EXIT_INFO_1, request);
        ghcb.set(SW_EXIT_INFO_2, response);
        ghcb
    }

    /// An extended guest request, with a page for certificates.
    pub fn extended_request(request: u64, response: u64, certificates: u64) -> Self {
        let mut ghcb = Self::new(EXIT_EXT_GUEST_REQUEST);
        ghcb.set(SW_EXIT_INFO_1, request);
        ghcb.set(SW_EXIT_INFO_2, response);
        ghcb.set(RAX, certificates);
        ghcb.set(RBX, 1);
        ghcb
    }

    /// A VMGEXIT that is not a guest request.
    pub fn unrelated() -> Self {
        Self::new(EXIT_HV_FEATURES)
    }

    /// A byte to a port of the VMM's: KVM_RUN returns with it.
    pub fn port_output(port: u16) -> Self {
        let mut ghcb = Self::new(EXIT_IOIO);
        ghcb.set(SW_EXIT_INFO_1, u64::from(port) << 16 | ONE_BYTE_OUT);
        ghcb.set(RAX, 0);
        ghcb
    }

    /// The GHCB after a guest request with this answer.
    pub fn answered(answer: u64) -> Self {
        let mut ghcb = Self::new(EXIT_GUEST_REQUEST);
        ghcb.set(SW_EXIT_INFO_2, answer);
        ghcb
    }

    /// Sets an 8-byte field and its valid bit.
    fn set(&mut self, offset: usize, value: u64) {
        self.0[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        self.0[VALID_BITMAP + offset / 64] |= 1 << (offset / 8 % 8);
    }

    pub fn bytes(&self) -> &[u8; END] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(ghcb: &Ghcb, offset: usize) -> u64 {
        u64::from_le_bytes(ghcb.bytes()[offset..offset + 8].try_into().unwrap())
    }

    fn valid(ghcb: &Ghcb, offset: usize) -> bool {
        ghcb.bytes()[VALID_BITMAP + offset / 64] >> (offset / 8 % 8) & 1 == 1
    }

    #[test]
    fn a_request_names_its_two_pages() {
        let ghcb = Ghcb::request(0x2000, 0x3000);
        assert_eq!(field(&ghcb, 0x390), 0x8000_0011);
        assert_eq!(field(&ghcb, 0x398), 0x2000);
        assert_eq!(field(&ghcb, 0x3a0), 0x3000);
        for offset in [0x390, 0x398, 0x3a0] {
            assert!(valid(&ghcb, offset), "{offset:#x}");
        }
        assert!(!valid(&ghcb, RAX) && !valid(&ghcb, RBX));
    }

    #[test]
    fn an_extended_request_names_one_more() {
        let ghcb = Ghcb::extended_request(0x2000, 0x3000, 0x4000);
        assert_eq!(field(&ghcb, 0x390), 0x8000_0012);
        assert_eq!(field(&ghcb, 0x1f8), 0x4000);
        assert_eq!(field(&ghcb, 0x318), 1);
        assert!(valid(&ghcb, RAX) && valid(&ghcb, RBX));
    }

    #[test]
    fn the_bitmap_has_a_bit_for_each_8_bytes() {
        let ghcb = Ghcb::unrelated();
        // 0x390 / 8 = 114, 0x398 / 8 = 115, 0x3a0 / 8 = 116
        let set: Vec<usize> = (0..127)
            .filter(|bit| ghcb.bytes()[VALID_BITMAP + bit / 8] >> (bit % 8) & 1 == 1)
            .collect();
        assert_eq!(set, [114, 115, 116]);
    }
}
