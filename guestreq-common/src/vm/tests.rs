use super::*;

#[test]
fn a_vm_that_pushes_against_its_limit_begins_one_row_and_ends_it_once_it_stops() {
    // SAFETY: Vm consists of integers, for which all zeros is a value.
    let mut vm = unsafe { Box::<Vm>::new_zeroed().assume_init() };
    assert!(!vm.changes_row(false, 0), "nothing to end");
    assert!(vm.changes_row(true, 0), "the first, whatever the clock says");
    for now in 1..100 {
        assert!(!vm.changes_row(now % 10 != 0, now * ROW_ENDS_NS / 20), "one row, at {now}");
    }
    assert!(!vm.changes_row(true, 5 * ROW_ENDS_NS));
    assert!(!vm.changes_row(false, 6 * ROW_ENDS_NS - 1), "too early");
    assert!(!vm.changes_row(false, 0), "a clock of another CPU");
    assert!(vm.changes_row(false, 6 * ROW_ENDS_NS), "the end");
    assert!(!vm.changes_row(false, 9 * ROW_ENDS_NS), "once");
    assert!(vm.changes_row(true, 9 * ROW_ENDS_NS), "the next row");
}

#[test]
fn a_process_may_have_several_guests_until_there_is_no_room() {
    // SAFETY: Vm consists of integers, for which all zeros is a value.
    let mut vm = unsafe { Box::<Vm>::new_zeroed().assume_init() };
    for address in 1..=GUESTS as u64 {
        assert!(vm.counters(address).is_none());
        assert!(vm.welcome(address, Counters::launched()));
    }
    assert!(!vm.welcome(99, Counters::launched()), "no room");
    assert!(vm.welcome(2, Counters::launched()), "the same one again");
    vm.dismiss(2);
    assert!(vm.counters(2).is_none());
    assert!(vm.welcome(99, Counters::launched()), "room again");
    assert!(vm.counters(99).is_some());
}

#[test]
fn a_message_s_number_is_judged_where_its_guest_s_counters_stand() {
    // SAFETY: Vm consists of integers, for which all zeros is a value.
    let mut vm = unsafe { Box::<Vm>::new_zeroed().assume_init() };
    assert_eq!(vm.judge(7, &Summary::UNKNOWN, true), None, "not here");
    vm.welcome(7, Counters::launched());
    let mut judge = |seqno| {
        let message = Summary { seqno, ..Summary::UNKNOWN };
        (vm.judge(7, &message, true), vm.anomalies)
    };
    assert_eq!(judge(1), (Some(Numbered::Right), [0, 0]));
    assert_eq!(judge(1), (Some(Numbered::Replay), [1, 0]));
    assert_eq!(judge(9), (Some(Numbered::Gap), [1, 1]));
}

#[test]
fn every_outcome_has_a_cell_of_its_own() {
    let mut results = Results::NONE;
    for outcome in 0..outcome::OUTCOMES as u8 {
        assert_eq!(results.get(outcome), 0);
        *results.cell(outcome) += 1;
    }
    assert!(results.0.iter().all(|&count| count == 1));
    assert_eq!(results.total(), outcome::OUTCOMES as u64);
    assert_eq!(results.get(255), 0);
}
