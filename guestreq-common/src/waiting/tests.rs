use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;

fn at(seconds: u64) -> MonotonicNs {
    MonotonicNs(seconds * S)
}

fn place(waiting: &WaitingMessages, vmpck: u8, seqno: u64, now: MonotonicNs) -> Place {
    let mut place = Place { older: 99, ..Place::default() };
    waiting.place(&mut place, vmpck, seqno, now);
    Place { since: MonotonicNs::NEVER, ..place }
}

#[test]
fn a_refused_message_keeps_the_time_of_its_first_refusal() {
    let mut waiting = WaitingMessages::default();
    assert!(!waiting.any());
    for second in [10, 12, 14] {
        waiting.refuse(1, 7, at(second));
    }
    assert!(waiting.any());
    assert_eq!(place(&waiting, 1, 7, at(16)), Place { first_refused: at(10), ..Place::default() });
    let own = &waiting.by_vmpck[1];
    assert_eq!((own.seqno, own.last_refused), (7, at(14)));
    waiting.serve(1);
    assert!(!waiting.any());
    assert_eq!(place(&waiting, 1, 7, at(16)), Place::default(), "as new as any other");
}

#[test]
fn another_number_is_another_message_and_begins_again() {
    let mut waiting = WaitingMessages::default();
    waiting.refuse(0, 7, at(10));
    assert_eq!(place(&waiting, 0, 9, at(20)), Place::default());
    waiting.refuse(0, 9, at(20));
    assert_eq!(place(&waiting, 0, 9, at(21)).first_refused, at(20));
    assert_eq!(place(&waiting, 0, 7, at(21)), Place::default(), "its place is taken");
}

#[test]
fn as_long_as_a_message_of_any_vmpck_waits_the_vm_is_no_ordinary_one() {
    for (first, last) in [(0, 2), (2, 0), (1, 3), (3, 1), (0, 1), (2, 3)] {
        let mut waiting = WaitingMessages::default();
        waiting.refuse(first, 1, at(10));
        waiting.refuse(last, 1, at(10));
        waiting.serve(first);
        assert!(waiting.any(), "{last} waits");
        waiting.serve(last);
        assert!(!waiting.any(), "neither {first} nor {last} waits");
    }
}

#[test]
fn those_that_were_refused_at_the_same_time_do_not_wait_for_each_other() {
    let mut waiting = WaitingMessages::default();
    waiting.refuse(0, 1, at(10));
    waiting.refuse(1, 1, at(10));
    assert_eq!(place(&waiting, 0, 1, at(11)).older, 0);
    assert_eq!(place(&waiting, 1, 1, at(11)).older, 0);
}

#[test]
fn a_lost_vmpck_has_a_bit_for_each_cause() {
    let bits = [0u8, 1, 2, 3].map(|vmpck| lost_bit(vmpck, LostCause::Denied));
    assert_eq!(bits, [1, 2, 4, 8]);
    let bits = [0u8, 1, 2, 3].map(|vmpck| lost_bit(vmpck, LostCause::Busy));
    assert_eq!(bits, [0x10, 0x20, 0x40, 0x80]);
}

#[test]
fn each_vmpck_has_its_own_place() {
    let mut waiting = WaitingMessages::default();
    for vmpck in 0..4 {
        waiting.refuse(vmpck, 1, at(10 + u64::from(vmpck)));
    }
    // VMPCKs 0 and 1 were refused more than 2.5 s ago: their guest does not seem to come back.
    for (vmpck, older) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
        let first_refused = at(10 + u64::from(vmpck));
        assert_eq!(
            place(&waiting, vmpck, 1, at(14)),
            Place { first_refused, older, ..Place::default() }
        );
    }
    waiting.serve(2);
    assert!(waiting.any());
    assert_eq!(place(&waiting, 2, 3, at(14)).older, 1, "a new message is younger than all");
}

#[test]
fn who_is_not_expected_back_holds_nobody_up() {
    let mut waiting = WaitingMessages::default();
    waiting.refuse(3, 1, at(10));
    let older = |waiting: &WaitingMessages, ns| place(waiting, 0, 1, MonotonicNs(ns)).older;
    assert_eq!(older(&waiting, 12 * S + S / 2 - 1), 1);
    assert_eq!(older(&waiting, 12 * S + S / 2), 0);
    waiting.refuse(3, 1, at(13));
    assert_eq!(older(&waiting, 14 * S), 1, "it has come back");
}

#[test]
fn a_message_is_overdue_after_thirty_seconds() {
    let mut waiting = WaitingMessages::default();
    waiting.refuse(0, 1, at(10));
    let place = place(&waiting, 0, 1, at(40));
    assert!(!place.is_overdue(MonotonicNs(40 * S - 1)));
    assert!(place.is_overdue(at(40)));
    assert!(!Place::default().is_overdue(MonotonicNs(u64::MAX)), "a new one is not");
}

#[test]
fn a_vmpck_above_3_has_no_place() {
    let mut waiting = WaitingMessages::default();
    for vmpck in 4..=255 {
        waiting.refuse(vmpck, 1, at(10));
        waiting.serve(vmpck);
    }
    assert_eq!(waiting, WaitingMessages::default());
    waiting.refuse(0, 1, at(10));
    assert_eq!(place(&waiting, 4, 1, at(50)), Place::default());
    waiting.serve(4);
    assert!(waiting.any());
}

#[test]
fn each_vmpck_and_cause_has_a_mark_of_its_own() {
    let mut all = 0;
    for vmpck in 0..VMPCKS as u8 {
        for cause in LostCause::ALL {
            let bit = lost_bit(vmpck, cause);
            assert_eq!((bit.count_ones(), all & bit), (1, 0));
            all |= bit;
        }
    }
    assert_eq!(all, 0xff);
}

/// A guest that sends what it likes, at any time, under a limit that refuses everything.
#[derive(Clone, Copy, Debug)]
struct Message {
    vmpck: u8,
    seqno: u64,
    after: u64,
}

fn any_message() -> impl Strategy<Value = Message> {
    (0u8..6, 0u64..3, 0..8 * S).prop_map(|(vmpck, seqno, after)| Message { vmpck, seqno, after })
}

proptest! {
    /// Whatever numbers a guest invents.
    #[test]
    fn a_vm_gains_at_most_four_requests_in_thirty_seconds(
        messages in proptest::collection::vec(any_message(), 1..300),
    ) {
        let mut waiting = WaitingMessages::default();
        let mut now = at(1);
        let mut rescued = Vec::new();
        for Message { vmpck, seqno, after } in messages {
            now = now.plus(after);
            if place(&waiting, vmpck, seqno, now).is_overdue(now) {
                rescued.push(now);
                waiting.serve(vmpck);
            } else {
                waiting.refuse(vmpck, seqno, now);
            }
        }
        for times in rescued.windows(VMPCKS + 1) {
            prop_assert!(times[VMPCKS].since(times[0]) >= RESCUE_NS, "{times:?}");
        }
    }

    /// However the VM's other keys push: the guest comes back each two seconds.
    #[test]
    fn a_guest_that_repeats_its_message_is_admitted_within_its_minute(
        start in 0..60 * S,
        others in proptest::collection::vec(any_message(), 0..200),
    ) {
        let mut waiting = WaitingMessages::default();
        let mut other_at = at(1);
        let mut others = others.into_iter().filter(|other| other.vmpck != 0);
        let mut now = at(1).plus(start);
        let first = now;
        while !place(&waiting, 0, 7, now).is_overdue(now) {
            waiting.refuse(0, 7, now);
            now = now.plus(2 * S);
            while other_at < now {
                let Some(Message { vmpck, seqno, after }) = others.next() else { break };
                other_at = other_at.plus(after);
                waiting.refuse(vmpck, seqno, other_at);
            }
        }
        prop_assert!(now.since(first) <= RESCUE_NS + 2 * S);
        prop_assert!(now.since(first) < LOST_NS);
    }

    #[test]
    fn the_oldest_message_is_nobody_s_junior(
        messages in proptest::collection::vec(any_message(), 1..100),
    ) {
        let mut waiting = WaitingMessages::default();
        let mut now = at(1);
        for Message { vmpck, seqno, after } in messages {
            now = now.plus(after);
            waiting.refuse(vmpck, seqno, now);
            let waits = |it: &&(usize, &Waiting)| !it.1.first_refused.is_never();
            let oldest = waiting.by_vmpck.iter().enumerate().filter(|it| waits(&it))
                .min_by_key(|(_, it)| it.first_refused);
            if let Some((vmpck, it)) = oldest {
                prop_assert_eq!(place(&waiting, vmpck as u8, it.seqno, now).older, 0);
            }
        }
    }
}
