use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::gcra::{Admission, Arrival, GcraLimit, tests::contended};

const MS: u64 = 1_000_000;
const NOW: u64 = 90_000 * MS;

fn limit(interval_ns: u64, burst: u64) -> GcraLimit {
    GcraLimit::new(interval_ns, burst).expect("within bounds")
}

/// A host's cells.
struct Cells {
    next: AtomicU64,
    last_refused: AtomicU64,
    holder: AtomicU64,
}

impl Cells {
    fn new(next: u64, last_refused: u64) -> Cells {
        let [next, last_refused, holder] = [next, last_refused, 0].map(AtomicU64::new);
        Cells { next, last_refused, holder }
    }

    /// Of a VM that has not asked before.
    fn turn(&self, spacing_ns: u64) -> Turn<'_, AtomicU64> {
        static VMS: AtomicU64 = AtomicU64::new(1 << 20);
        self.turn_of(GuestContext(VMS.fetch_add(1, Ordering::Relaxed)), spacing_ns)
    }

    /// A guest context's.
    fn turn_of(&self, context: GuestContext, spacing_ns: u64) -> Turn<'_, AtomicU64> {
        let Cells { next, last_refused, holder } = self;
        Turn { next, last_refused, holder, context, spacing_ns }
    }

    fn words(&self) -> (u64, u64) {
        (self.next.load(Ordering::SeqCst), self.last_refused.load(Ordering::SeqCst))
    }
}

/// VMs that push against one limit each, in steps of a millisecond, always with the message that was
/// refused; when each was admitted.
fn push(vms: usize, limit: GcraLimit, spacing_ns: u64, steps: u64) -> Vec<Vec<u64>> {
    let states: Vec<_> = (0..vms).map(|_| AtomicU64::new(0)).collect();
    let cells = Cells::new(0, 0);
    let mut first_refused = vec![MonotonicNs::NEVER; vms];
    let mut admitted = vec![Vec::new(); vms];
    for now in (0..steps).map(|step| 1_000 * MS + step * MS) {
        for vm in 0..vms {
            let turn = cells.turn_of(GuestContext(vm as u64 + 1), spacing_ns);
            let arrival = Arrival {
                now,
                first_refused: first_refused[vm],
                conforms_for: u64::MAX,
                ..Arrival::default()
            };
            if limit.ask(&states[vm], &turn, &arrival) == Admission::Admitted {
                admitted[vm].push(now);
                first_refused[vm] = MonotonicNs::NEVER;
            } else if first_refused[vm].is_never() {
                first_refused[vm] = MonotonicNs(now);
            }
        }
    }
    admitted
}

#[test]
fn vms_that_were_refused_come_one_after_the_other() {
    // A PSP that takes 10 ms, and 14 VMs that may use a quarter of it together.
    let admitted = push(14, limit(560 * MS, 1), 10 * MS, 20_000);
    let mut times: Vec<u64> = admitted.iter().flatten().copied().collect();
    times.sort_unstable();
    let (first, rest) = times.split_at(14);
    assert!(first.iter().all(|&now| now == first[0]), "nobody was over a limit yet");
    // Two that were refused at the same time may swap.
    assert!(rest.windows(3).all(|three| three[2] - three[0] >= 10 * MS));
    // Each has its rate: 20 s at one each 560 ms, each at most a turn late.
    for times in admitted {
        assert!((33..=36).contains(&times.len()), "{}", times.len());
    }
}

#[test]
fn turns_cost_a_vm_nothing_that_its_burst_makes_up_for() {
    for times in push(16, limit(100 * MS, 4), 3 * MS, 30_000) {
        assert_eq!(times.len(), 4 + 299);
    }
}

#[test]
fn where_limits_are_more_than_the_psp_can_do_nobody_waits_for_ever() {
    // 20 VMs that may use all of the PSP each. Whoever was not refused needs no turn.
    for times in push(20, limit(100 * MS, 1), 100 * MS, 40_000) {
        assert!(times.len() >= 10, "{times:?}");
        let longest = times.windows(2).map(|two| two[1] - two[0]).max();
        assert!(longest <= Some(100 * MS + MAX_TURN_WAIT_NS), "{times:?}");
    }
}

#[test]
fn who_was_not_refused_needs_no_turn() {
    let cells = Cells::new(NOW + 100 * MS, 1);
    for limit in [limit(MS, 1), GcraLimit::OFF] {
        let new = Arrival { now: NOW, conforms_for: u64::MAX, ..Arrival::default() };
        let admission = limit.ask(&AtomicU64::new(0), &cells.turn(100 * MS), &new);
        assert_eq!(admission, Admission::Admitted);
    }
    assert_eq!(cells.words(), (NOW + 100 * MS, 1), "and takes none");
}

#[test]
fn a_returning_message_waits_for_its_turn_whichever_limit_refused_it() {
    let arrival = Arrival {
        now: NOW,
        first_refused: MonotonicNs(NOW - 1),
        conforms_for: 0,
        ..Arrival::default()
    };
    for limit in [limit(MS, 1), GcraLimit::OFF] {
        let cells = Cells::new(NOW + 100 * MS, 1);
        let ask = |arrival| limit.ask(&AtomicU64::new(0), &cells.turn(100 * MS), &arrival);
        assert_eq!(ask(arrival), Admission::NotItsTurn);
        let later = Arrival { now: NOW + 100 * MS, ..arrival };
        assert_eq!(ask(later), Admission::Admitted);
    }
}

#[test]
fn the_rate_and_the_share_must_both_have_admitted_it_for_ten_seconds() {
    let admission = |rate_since: u64, conforms_for| {
        let cells = Cells::new(NOW + 100 * MS, 1);
        let first_refused = MonotonicNs(NOW - 15_000 * MS);
        let arrival = Arrival { now: NOW, first_refused, conforms_for, ..Arrival::default() };
        limit(MS, 1).ask(&AtomicU64::new(NOW - rate_since), &cells.turn(100 * MS), &arrival)
    };
    let (just, long) = (MAX_TURN_WAIT_NS - 1, MAX_TURN_WAIT_NS);
    assert_eq!(admission(long, long), Admission::Admitted);
    assert_eq!(admission(just, long), Admission::NotItsTurn);
    assert_eq!(admission(long, just), Admission::NotItsTurn);
}

#[test]
fn whoever_was_refused_first_goes_before_the_others() {
    let cells = Cells::new(0, 0);
    let take = |now, refused| cells.turn(100 * MS).take(now, MonotonicNs(NOW - refused), 1);
    assert!(take(NOW, 30 * MS), "the first to return");
    assert!(!take(NOW, 31 * MS), "at the very same time, an older one waits, too");
    assert!(!take(NOW + 1, 20 * MS), "a younger one waits");
    assert!(!take(NOW + 1, 30 * MS), "so does one of the same age");
    assert!(take(NOW + 1, 31 * MS), "an older one does not");
    assert_eq!(cells.words(), (NOW + 200 * MS, NOW - 31 * MS), "but adds its own time");
    assert!(!take(NOW + 2, 32 * MS), "two are on their way");
    assert!(take(NOW + 200 * MS, 20 * MS));
}

#[test]
fn the_vm_that_had_the_last_turn_may_continue_until_an_older_message_returns() {
    let cells = Cells::new(0, 0);
    let (mine, other) = (GuestContext(1), GuestContext(2));
    let take =
        |vm, now: u64, refused: u64| cells.turn_of(vm, 100 * MS).take(now, MonotonicNs(refused), 1);
    assert!(take(mine, NOW, NOW - MS));
    assert!(take(mine, NOW + 40 * MS, NOW + 40 * MS), "the PSP was faster than usual");
    assert_eq!(cells.words(), (NOW + 140 * MS, NOW + 40 * MS));
    assert!(take(other, NOW + 41 * MS, NOW), "refused before mine was sent");
    assert!(!take(mine, NOW + 100 * MS, NOW + 100 * MS), "the other has the turn now");
    assert!(take(other, NOW + 200 * MS, NOW + 200 * MS));
}

#[test]
fn messages_that_have_waited_for_long_do_not_push_the_next_turn_out_of_sight() {
    let cells = Cells::new(NOW + 100 * MS, 0);
    for _ in 0..9 {
        let turn = cells.turn(100 * MS);
        assert!(turn.take(NOW, MonotonicNs(NOW - 1), MAX_TURN_WAIT_NS));
    }
    assert_eq!(cells.words().0, NOW + 200 * MS);
    assert!(!cells.turn(100 * MS).take(NOW, MonotonicNs(NOW - 1), 1));
}

#[test]
fn a_vm_that_has_used_half_of_its_burst_takes_turns_with_new_messages_too() {
    let cells = Cells::new(NOW + 100 * MS, 1);
    let new = Arrival { now: NOW, conforms_for: 0, takes_turns: true, ..Arrival::default() };
    let ask = |arrival| GcraLimit::OFF.ask(&AtomicU64::new(0), &cells.turn(100 * MS), &arrival);
    assert_eq!(ask(new), Admission::NotItsTurn);
    assert_eq!(ask(Arrival { now: NOW + 100 * MS, ..new }), Admission::Admitted);
    assert_eq!(cells.words(), (NOW + 200 * MS, NOW + 100 * MS), "the youngest of all");
}

#[test]
fn a_turn_of_another_clock_holds_nobody_up() {
    let far = |ahead| Cells::new(NOW + ahead, 0).turn(10 * MS).take(NOW, MonotonicNs(NOW - 1), 0);
    assert!(!far(2 * MAX_SPACING_NS) && far(2 * MAX_SPACING_NS + 1));
    let cells = Cells::new(u64::MAX, 0);
    assert!(cells.turn(u64::MAX).take(5, MonotonicNs(4), 0));
    assert_eq!(cells.words().0, 5 + MAX_SPACING_NS);
}

#[test]
fn however_slow_the_psp_is_turns_are_a_quarter_of_a_second_apart() {
    let cells = Cells::new(0, 0);
    let take = |now| cells.turn(u64::MAX).take(now, MonotonicNs(NOW - 1), 1);
    assert!(take(NOW));
    assert_eq!(cells.words().0 - NOW, 250 * MS);
    assert!(!take(NOW), "at the very same time");
    assert!(!take(NOW + 250 * MS - 1));
    assert!(take(NOW + 250 * MS));
}

#[test]
fn nobody_waits_for_its_turn_longer_than_ten_seconds() {
    let takes = |waited| {
        Cells::new(NOW + 100 * MS, 0).turn(100 * MS).take(NOW, MonotonicNs(NOW - 1), waited)
    };
    assert!(!takes(10_000 * MS - 1));
    assert!(takes(10_000 * MS));
}

#[test]
fn of_those_that_race_for_a_turn_one_has_it_and_who_has_waited_for_long_comes_too() {
    let takes = |waited| {
        let (overtaken, last) = (contended(0, 1), contended(0, 0));
        let (next, context) = (&overtaken, GuestContext(1));
        let turn = Turn { next, last_refused: &last, holder: &last, context, spacing_ns: 10 * MS };
        turn.take(NOW, MonotonicNs(NOW - 1), waited)
    };
    assert!(!takes(1));
    assert!(takes(MAX_TURN_WAIT_NS));
}

#[test]
fn a_turn_is_taken_once_however_often_the_state_is_written_meanwhile() {
    let cells = Cells::new(0, 0);
    let arrival = Arrival {
        now: NOW,
        first_refused: MonotonicNs(NOW - 1),
        conforms_for: u64::MAX,
        ..Arrival::default()
    };
    let admission = limit(MS, 1).ask(&contended(NOW - 1, 2), &cells.turn(100 * MS), &arrival);
    assert_eq!(admission, Admission::Admitted);
}

proptest! {
    #[test]
    fn no_word_makes_it_panic(
        now: u64, next: u64, last: u64, holder: u64, first: u64, waited: u64, spacing: u64,
    ) {
        let cells = Cells { holder: AtomicU64::new(holder), ..Cells::new(next, last) };
        cells.turn_of(GuestContext(1), spacing).take(now, MonotonicNs(first), waited);
    }
}
