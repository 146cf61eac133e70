//! # VMPCKs that guests have lost
//!
//! An inference from how Linux treats refusals (guestreq_common::waiting): a guest wipes a VMPCK
//! whose message is denied, or gets nothing but BUSY for a minute. In audit and observe no message
//! waits and none is denied, so nothing is lost. A mark ends when a message with that VMPCK succeeds.

use guestreq_common::{
    message::VMPCKS,
    units::MonotonicNs,
    waiting::{LOST_NS, LostCause, WaitingMessages, lost_bit},
};

/// A VMPCK, 0 to 3, and why it is lost.
pub type LostVmpck = (u8, LostCause);

fn vmpcks() -> impl Iterator<Item = u8> {
    0..VMPCKS as u8
}

/// The marked ones, by VMPCK.
pub fn lost_vmpcks(marks: u32) -> impl Iterator<Item = LostVmpck> {
    let each = vmpcks().flat_map(|vmpck| LostCause::ALL.map(|cause| (vmpck, cause)));
    each.filter(move |(vmpck, cause)| marks & lost_bit(*vmpck, *cause) != 0)
}

/// The marked ones that were not before.
pub fn newly_lost(before: u32, marks: u32) -> impl Iterator<Item = LostVmpck> {
    lost_vmpcks(marks & !before)
}

fn is_lost(waiting: &WaitingMessages, vmpck: u8) -> bool {
    lost_vmpcks(waiting.lost).any(|(lost, _)| lost == vmpck)
}

/// How long each message of a VMPCK that is not marked as lost has waited.
fn ages(waiting: &WaitingMessages, now: MonotonicNs) -> impl Iterator<Item = (u8, u64)> {
    let waits = vmpcks()
        .zip(&waiting.by_vmpck)
        .filter(|(vmpck, message)| !message.first_refused.is_never() && !is_lost(waiting, *vmpck));
    waits.map(move |(vmpck, message)| (vmpck, now.since(message.first_refused)))
}

/// VMPCKs whose guest must have given up by now, and that are not marked yet.
pub fn given_up(waiting: &WaitingMessages, now: MonotonicNs) -> impl Iterator<Item = u8> {
    ages(waiting, now).filter(|(_, age)| *age >= LOST_NS).map(|(vmpck, _)| vmpck)
}

/// How long the oldest message has waited whose VMPCK is not lost.
pub fn oldest_refused_ns(waiting: &WaitingMessages, now: MonotonicNs) -> Option<u64> {
    ages(waiting, now).map(|(_, age)| age).max()
}

#[cfg(test)]
mod tests {
    use LostCause::{Busy, Denied};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> MonotonicNs {
        MonotonicNs(seconds * SECOND)
    }

    #[test]
    fn a_guest_gives_up_a_minute_after_the_first_refusal_of_a_number() {
        let mut waiting = WaitingMessages::default();
        let given_up = |waiting: &WaitingMessages, seconds| -> Vec<u8> {
            super::given_up(waiting, at(seconds)).collect()
        };
        for seconds in 100..160 {
            waiting.refuse(2, 7, at(seconds));
        }
        waiting.refuse(0, 7, at(130));
        assert_eq!(given_up(&waiting, 159), [0u8; 0]);
        assert_eq!(given_up(&waiting, 160), [2]);
        assert_eq!(given_up(&waiting, 190), [0, 2]);
        waiting.refuse(2, 9, at(161));
        assert_eq!(given_up(&waiting, 190), [0], "another message took its place");
        waiting.serve(0);
        assert_eq!(given_up(&waiting, 190), [0u8; 0], "it was admitted");
    }

    #[test]
    fn the_oldest_message_that_still_waits_has_an_age() {
        let mut waiting = WaitingMessages::default();
        assert_eq!(oldest_refused_ns(&waiting, at(100)), None);
        waiting.refuse(1, 3, at(100));
        waiting.refuse(3, 3, at(110));
        assert_eq!(oldest_refused_ns(&waiting, at(112)), Some(12 * SECOND));
        waiting.lost |= lost_bit(1, Busy);
        assert_eq!(oldest_refused_ns(&waiting, at(112)), Some(2 * SECOND), "1 is lost");
        assert_eq!(given_up(&waiting, at(200)).collect::<Vec<_>>(), [3], "1 is known");
    }

    #[test]
    fn marks_are_reported_once_and_again_after_they_ended() {
        let marks = lost_bit(0, Denied) | lost_bit(2, Denied) | lost_bit(2, Busy);
        assert_eq!(lost_vmpcks(marks).collect::<Vec<_>>(), [(0, Denied), (2, Denied), (2, Busy)]);
        let before = lost_bit(0, Denied);
        assert_eq!(newly_lost(before, marks).collect::<Vec<_>>(), [(2, Denied), (2, Busy)]);
        assert_eq!(newly_lost(marks, marks).count(), 0);
        assert_eq!(newly_lost(0, before).collect::<Vec<_>>(), [(0, Denied)]);
    }
}
