//! Who was refused waits for its turn.

use super::*;

/// VMs that push against one limit each, in steps of a millisecond; when each was admitted.
fn push(vms: usize, limit: GcraLimit, spacing_ns: u64, steps: u64) -> Vec<Vec<u64>> {
    let states: Vec<_> = (0..vms).map(|_| AtomicU64::new(0)).collect();
    let turn = Turn { next: &AtomicU64::new(0), spacing_ns };
    let mut admitted = vec![Vec::new(); vms];
    for now in (0..steps).map(|ms| 1_000_000_000 + ms * 1_000_000) {
        for (state, times) in states.iter().zip(&mut admitted) {
            if limit.ask(state, &turn, now) == Admission::Admitted {
                times.push(now);
            }
        }
    }
    admitted
}

#[test]
fn vms_that_were_refused_come_one_after_the_other() {
    // A PSP that takes 10 ms, and 14 VMs that may use a quarter of it together.
    let admitted = push(14, limit(560_000_000, 1), 10_000_000, 20_000);
    let mut times: Vec<u64> = admitted.iter().flatten().copied().collect();
    times.sort_unstable();
    let (first, rest) = times.split_at(14);
    assert!(first.iter().all(|&now| now == first[0]), "nobody was over a limit yet");
    assert!(rest.windows(2).all(|two| two[1] - two[0] >= 10_000_000));
    // Each has its rate: 20 s at one each 560 ms, each at most a turn late.
    for times in admitted {
        assert!((33..=36).contains(&times.len()), "{}", times.len());
    }
}

#[test]
fn turns_cost_a_vm_nothing_that_its_burst_makes_up_for() {
    for times in push(16, limit(100_000_000, 4), 3_000_000, 30_000) {
        assert_eq!(times.len(), 4 + 299);
    }
}

#[test]
fn where_limits_are_more_than_the_psp_can_do_nobody_waits_for_ever() {
    // 20 VMs that may use all of the PSP each: every one comes within half a second of its time.
    for times in push(20, limit(100_000_000, 1), 100_000_000, 10_000) {
        assert!(
            times
                .windows(2)
                .all(|two| two[1] - two[0] <= 100_000_000 + MAX_TURN_WAIT_NS + 1_000_000)
        );
    }
}

#[test]
fn a_turn_of_another_clock_holds_nobody_up() {
    let (state, next) = (AtomicU64::new(REFUSED), AtomicU64::new(u64::MAX));
    let turn = Turn { next: &next, spacing_ns: u64::MAX };
    assert_eq!(limit(1_000_000, 1).ask(&state, &turn, 5), Admission::Admitted);
    assert_eq!(Cell::load(&next), 5 + MAX_SPACING_NS);
}

/// What becomes of a VM that was refused, and since when it would have been admitted.
fn wait<C: Cell>(turn: &Turn<'_, C>, waited: u64, now: u64) -> Admission {
    limit(1_000_000, 1).ask(&AtomicU64::new((now - waited) | REFUSED), turn, now)
}

#[test]
fn however_slow_the_psp_is_turns_are_a_quarter_of_a_second_apart() {
    let next = AtomicU64::new(0);
    let turn = Turn { next: &next, spacing_ns: u64::MAX };
    let now = 9_000_000_000;
    assert_eq!(wait(&turn, 1, now), Admission::Admitted);
    assert_eq!(Cell::load(&next) - now, 250_000_000);
    assert_eq!(wait(&turn, 1, now), Admission::NotItsTurn, "at the very same time");
    assert_eq!(wait(&turn, 1, now + 249_999_999), Admission::NotItsTurn);
    assert_eq!(wait(&turn, 1, now + 250_000_000), Admission::Admitted);
}

#[test]
fn nobody_waits_for_its_turn_longer_than_half_a_second() {
    let now = 9_000_000_000;
    let taken = || AtomicU64::new(now + 100_000_000);
    let admission = |waited| wait(&Turn { next: &taken(), spacing_ns: 100_000_000 }, waited, now);
    assert_eq!(admission(499_999_999), Admission::NotItsTurn);
    assert_eq!(admission(500_000_000), Admission::Admitted);
}

#[test]
fn of_those_that_race_for_a_turn_one_has_it_and_who_has_waited_for_long_comes_too() {
    let admission = |waited| {
        let overtaken = contended(0, 1);
        wait(&Turn { next: &overtaken, spacing_ns: 10_000_000 }, waited, 9_000_000_000)
    };
    assert_eq!(admission(1), Admission::NotItsTurn);
    assert_eq!(admission(MAX_TURN_WAIT_NS), Admission::Admitted);
}

#[test]
fn who_keeps_to_its_limit_needs_no_turn() {
    let now = 9_000_000_000;
    let taken = AtomicU64::new(now + 100_000_000);
    let turn = Turn { next: &taken, spacing_ns: 100_000_000 };
    let (limit, state) = (limit(1_000_000, 2), AtomicU64::new(now));
    assert_eq!(limit.ask(&state, &turn, now), Admission::Admitted);
    assert_eq!(limit.ask(&state, &turn, now), Admission::Admitted);
    assert_eq!(limit.ask(&state, &turn, now), Admission::Early(1_000_000));
    assert_eq!(limit.ask(&state, &turn, now), Admission::Early(1_000_000), "as before");
    assert_eq!(limit.ask(&state, &turn, now + 1_000_000), Admission::NotItsTurn, "it was refused");
}

#[test]
fn who_was_refused_by_a_limit_of_the_past_waits_for_its_turn_too() {
    let now = 9_000_000_000;
    let taken = AtomicU64::new(now + 3_000_000_000);
    let turn = Turn { next: &taken, spacing_ns: 100_000_000 };
    let (limit, state) = (limit(1_000_000, 1), AtomicU64::new(now + MAX_INTERVAL_NS));
    assert_eq!(limit.ask(&state, &turn, now), Admission::Early(SLACK_NS + 1_000_000));
    let later = now + SLACK_NS + 1_000_000;
    taken.store(later + 1, Ordering::SeqCst);
    assert_eq!(limit.ask(&state, &turn, later), Admission::NotItsTurn);
}

#[test]
fn a_turn_is_taken_once_however_often_the_state_is_written_meanwhile() {
    let now = 9_000_000_000;
    let next = AtomicU64::new(0);
    let turn = Turn { next: &next, spacing_ns: 100_000_000 };
    let state = contended((now - 1) | REFUSED, 2);
    assert_eq!(limit(1_000_000, 1).ask(&state, &turn, now), Admission::Admitted);
}
