//! # Random data
//!
//! Random headers and pages, reproducible by their seed.

use crate::message::{HEADER, Message};

/// splitmix64
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise(u64);

impl Noise {
    /// The generator for the i-th request of a vCPU.
    pub fn of(seed: u64, vcpu: u32, i: u64) -> Self {
        Self(seed ^ u64::from(vcpu) << 48 ^ i.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Picks one of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.next() % of.len() as u64) as usize]
    }

    /// This value or a random one.
    pub fn either(&mut self, this: u64) -> u64 {
        if self.next().is_multiple_of(2) { this } else { self.next() }
    }

    /// A message of this type: a quarter are random, half have a wrong sequence number or key, a
    /// quarter are valid.
    pub fn header(mut self, kind: u8, valid: Message) -> [u8; HEADER] {
        let valid = Message { kind, ..valid };
        match self.next() % 4 {
            0 => {
                let mut header = [0; HEADER];
                for word in header.chunks_exact_mut(8) {
                    word.copy_from_slice(&self.next().to_le_bytes());
                }
                header[crate::message::MESSAGE_TYPE] = kind;
                header
            }
            1 => Message { seqno: self.next(), ..valid }.header(),
            2 => Message { vmpck: self.next() as u8, ..valid }.header(),
            _ => valid.header(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_and_every_kind_of_header() {
        let header = |seed, i| Noise::of(seed, 1, i).header(9, Message::new(5, 2, 7));
        assert_eq!(header(3, 5), header(3, 5));
        assert_ne!(header(3, 5), header(4, 5));
        let all: Vec<_> = (0..64).map(|i| header(1, i)).collect();
        let valid = Message::new(9, 2, 7).header();
        assert!(all.contains(&valid) && all.iter().any(|header| header[0x30] != valid[0x30]));
        assert!(all.iter().all(|header| header[0x34] == 9));
    }
}
