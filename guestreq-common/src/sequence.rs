//! # Sequence numbers
//!
//! A guest context has one message counter per VMPCK. A request carries the counter plus one, the
//! answer plus two: numbers rise by two per success. A request that failed or got BUSY repeats its
//! number and is no replay, so numbers are compared with the last that succeeded.

use crate::message::VMPCKS;

named_enum! {
    /// What is wrong with a sequence number.
    pub enum Anomaly {
        /// It was used before, and with it an AES-GCM IV.
        Replay = 0 => "replay",
        /// Numbers were skipped.
        Gap = 1 => "gap",
    }
}

pub const ANOMALIES: usize = Anomaly::ALL.len();

/// Neither the launch nor a success with this VMPCK was seen.
const UNKNOWN: u64 = u64::MAX;

/// The counters of a guest context.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    last: [u64; VMPCKS],
}

impl Counters {
    /// Of a context whose launch was seen: the first request has number 1.
    #[inline(always)]
    pub const fn launched() -> Counters {
        Counters { last: [UNKNOWN - 1; VMPCKS] }
    }

    /// Of a context that existed before: its first success sets the counter.
    #[inline(always)]
    pub const fn found() -> Counters {
        Counters { last: [UNKNOWN; VMPCKS] }
    }

    /// A message may have succeeded unseen: the next success sets the counter.
    #[inline(always)]
    pub fn forget(&mut self, vmpck: u8) {
        if (vmpck as usize) < VMPCKS {
            self.last[vmpck as usize & (VMPCKS - 1)] = UNKNOWN;
        }
    }

    /// Checks a message that reached the PSP, and stores its number if it succeeded.
    /// A VMPCK above 3 has no counter; the firmware rejects it.
    #[inline(always)]
    pub fn check(&mut self, vmpck: u8, seqno: u64, succeeded: bool) -> Option<Anomaly> {
        if vmpck as usize >= VMPCKS {
            return None;
        }
        let last = &mut self.last[vmpck as usize & (VMPCKS - 1)];
        let anomaly = compare(*last, seqno);
        if succeeded {
            *last = seqno;
        }
        anomaly
    }
}

#[inline(always)]
const fn compare(last: u64, seqno: u64) -> Option<Anomaly> {
    if last == UNKNOWN {
        return None;
    }
    // Counters::launched() stores UNKNOWN - 1: the first number is 1.
    let next = if last == UNKNOWN - 1 { 1 } else { last.wrapping_add(2) };
    if seqno == next {
        None
    } else if seqno < next {
        Some(Anomaly::Replay)
    } else {
        Some(Anomaly::Gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_launched_context_starts_at_one() {
        let mut counters = Counters::launched();
        assert_eq!(counters.check(0, 1, true), None);
        assert_eq!(counters.check(0, 3, true), None);
        assert_eq!(Counters::launched().check(0, 3, true), Some(Anomaly::Gap));
        assert_eq!(Counters::launched().check(0, 0, true), Some(Anomaly::Replay));
    }

    #[test]
    fn a_retry_after_a_failure_is_no_replay() {
        let mut counters = Counters::launched();
        assert_eq!(counters.check(0, 1, true), None);
        for _ in 0..3 {
            assert_eq!(counters.check(0, 3, false), None);
        }
        assert_eq!(counters.check(0, 3, true), None);
    }

    #[test]
    fn a_repeated_success_is_a_replay_and_a_jump_a_gap() {
        let mut counters = Counters::found();
        assert_eq!(counters.check(2, 41, true), None, "the first one sets the counter");
        assert_eq!(counters.check(2, 41, false), Some(Anomaly::Replay));
        assert_eq!(counters.check(2, 42, false), Some(Anomaly::Replay), "the answer's number");
        assert_eq!(counters.check(2, 45, false), Some(Anomaly::Gap));
        assert_eq!(counters.check(2, 43, true), None);
    }

    #[test]
    fn after_a_message_that_was_not_seen_any_number_is_right_once() {
        for vmpck in 0..VMPCKS as u8 {
            let mut counters = Counters::launched();
            assert_eq!(counters.check(vmpck, 1, true), None);
            counters.forget(vmpck);
            counters.forget(4);
            for other in (0..VMPCKS as u8).filter(|other| *other != vmpck) {
                assert_eq!(counters.check(other, 3, true), Some(Anomaly::Gap), "its own stands");
            }
            assert_eq!(counters.check(vmpck, 7, true), None);
            assert_eq!(counters.check(vmpck, 7, true), Some(Anomaly::Replay));
        }
    }

    #[test]
    fn a_vmpck_beyond_the_fourth_has_no_counter() {
        let mut counters = Counters::launched();
        for vmpck in 4..=255 {
            assert_eq!(counters.check(vmpck, u64::MAX, true), None);
        }
    }

    proptest! {
        #[test]
        fn vmpcks_do_not_disturb_each_other(order in proptest::collection::vec(0u8..4, 0..200)) {
            let mut counters = Counters::launched();
            let mut next = [1u64; 4];
            for vmpck in order {
                let number = &mut next[usize::from(vmpck)];
                prop_assert_eq!(counters.check(vmpck, *number, true), None);
                *number += 2;
            }
        }

        #[test]
        fn no_number_makes_it_panic(numbers: Vec<(u8, u64, bool)>) {
            let mut counters = Counters::found();
            for (vmpck, seqno, succeeded) in numbers {
                counters.check(vmpck, seqno, succeeded);
            }
        }
    }
}
