//! # The gate's ABI
//!
//! The gate is a kernel module in front of the call by which KVM hands a guest request to ccp. It
//! first calls the LSM hook `file_ioctl`. This mirrors gate/guestreq_gate.h.

use crate::{message::HEADER_SIZE, units::GuestContext};

/// The newest and the oldest protocol that this guestreq speaks.
pub const PROTOCOL: u64 = 2;
pub const PROTOCOL_OLDEST: u64 = 1;
/// The first one in which an answer may have a weight.
pub const PROTOCOL_OF_WEIGHTS: u64 = 2;

/// The LSM hook's `arg` is the kernel address of one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// A secret of the gate and root.
    pub cookie: u64,
    /// 0 for a guest request; nonzero for a self-test.
    pub nonce: u64,
    pub context: GuestContext,
    pub header: [u8; HEADER_SIZE],
}

/// `_IOW('S', 0x94, struct guestreq_gate_question)`
pub const ASK: u32 = 1 << 30 | (size_of::<Question>() as u32) << 16 | (b'S' as u32) << 8 | 0x94;

/// Answers of protocol 1, with the same meaning in 2. No errno has these numbers.
pub const ADMIT: i32 = -3001;
pub const DENY: i32 = -3002;
pub const BUSY: i32 = -3003;

/// Protocol 2: admit with a weight in the gate's order. [`ADMIT`] means weight 1.
pub const fn admit_weighted(weight: Weight) -> i32 {
    ADMIT_WEIGHTED - weight.0 as i32
}

const ADMIT_WEIGHTED: i32 = -3100;

/// The answer that admits a request of this weight: [`Weight::to_bits`], or 0 for a gate that knows
/// no weights.
#[inline(always)]
pub const fn admit(weight_bits: u8) -> i32 {
    if weight_bits == 0 { ADMIT } else { ADMIT_WEIGHTED - weight_bits as i32 }
}

/// How much of the PSP a VM gets in relation to others that wait, 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(u8);

impl Weight {
    pub const MAX: u8 = 255;
    pub const DEFAULT: Weight = Weight(1);

    pub const fn new(weight: u8) -> Option<Weight> {
        if weight == 0 { None } else { Some(Weight(weight)) }
    }

    pub const fn get(self) -> u8 {
        self.0
    }

    /// As records have it: 0 is the default, so that records without a weight stay as they are.
    pub const fn to_bits(self) -> u8 {
        if self.0 == Weight::DEFAULT.0 { 0 } else { self.0 }
    }

    pub const fn from_bits(bits: u8) -> Weight {
        if bits == 0 { Weight::DEFAULT } else { Weight(bits) }
    }
}

/// The firmware status that carries BUSY to the exit, where the gate writes what guests expect.
pub const BUSY_STATUS: u32 = 0x4741_5445;

#[cfg(test)]
mod tests {
    use super::*;

    /// A constant of the gate's header, without its parentheses.
    fn in_the_header(name: &str) -> i32 {
        let header = include_str!("../../gate/guestreq_gate.h");
        let define = format!("#define GUESTREQ_GATE_{name}\t");
        let rest = header.split(&define).nth(1).expect("a constant");
        let value = rest.split_whitespace().next().expect("a value");
        value.trim_matches(['(', ')']).parse().expect("a number")
    }

    #[test]
    fn answers_are_the_header_s() {
        assert_eq!(in_the_header("PROTOCOL"), PROTOCOL as i32);
        assert_eq!(in_the_header("PROTOCOL_OLDEST"), PROTOCOL_OLDEST as i32);
        assert_eq!(in_the_header("ADMIT"), ADMIT);
        assert_eq!(in_the_header("DENY"), DENY);
        assert_eq!(in_the_header("BUSY"), BUSY);
        assert_eq!(in_the_header("ADMIT_WEIGHTED"), ADMIT_WEIGHTED);
        assert_eq!(in_the_header("MAX_WEIGHT"), i32::from(Weight::MAX));
    }

    #[test]
    fn a_weight_is_an_answer_that_an_lsm_program_may_return() {
        assert_eq!(Weight::new(0), None);
        let weights = (1..=Weight::MAX).filter_map(Weight::new);
        let answers: Vec<_> = weights.map(admit_weighted).collect();
        assert_eq!((answers[0], answers[254]), (-3101, -3355));
        assert!(answers.iter().all(|answer| (-4095..=0).contains(answer)));
        assert!(answers.iter().all(|answer| ![ADMIT, DENY, BUSY].contains(answer)));
        assert_eq!(Weight::new(1), Some(Weight::DEFAULT));
    }

    #[test]
    fn a_weight_of_a_record_is_answered_unless_it_is_the_default() {
        for weight in (1..=Weight::MAX).filter_map(Weight::new) {
            let bits = weight.to_bits();
            assert_eq!(Weight::from_bits(bits), weight);
            let answer = if weight == Weight::DEFAULT { ADMIT } else { admit_weighted(weight) };
            assert_eq!(admit(bits), answer);
        }
        assert_eq!(admit(0), ADMIT);
    }

    #[test]
    fn the_command_is_the_header_s() {
        assert_eq!(size_of::<Question>(), 0x78);
        assert_eq!(ASK, 0x4078_5394);
    }
}
