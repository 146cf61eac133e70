use core::mem::offset_of;

use super::*;
use crate::{
    message::MessageType,
    outcome::OUTCOMES,
    policy::{Decision, Mode},
};

fn zeroed() -> Box<Vm> {
    // SAFETY: Vm consists of integers, for which all zeros is a value.
    unsafe { Box::<Vm>::new_zeroed().assume_init() }
}

fn begin(vm: &mut Vm, context: GuestContext, tgid: u32, now: MonotonicNs) {
    vm.begin(context, tgid, Counters::launched(), Limiter::new(now), now);
}

#[test]
fn a_vm_reference_names_a_slot_or_none() {
    assert!(VmRef::NONE.is_none() && !VmRef::new(7, 0).is_none());
    assert_eq!(VmRef::new(7, 3).index(), 7);
}

#[test]
fn a_vm_that_pushes_against_its_limit_begins_one_series_and_ends_it_once_it_stops() {
    let mut vm = zeroed();
    let mut edge = |over, now| vm.throttle_edge(over, MonotonicNs(now));
    assert!(!edge(false, 0), "nothing to end");
    assert!(edge(true, 0), "the first, whatever the clock says");
    for now in 1..100 {
        assert!(!edge(now % 10 != 0, now * THROTTLE_ENDS_NS / 20), "one series, at {now}");
    }
    assert!(!edge(true, 5 * THROTTLE_ENDS_NS));
    assert!(!edge(false, 6 * THROTTLE_ENDS_NS - 1), "too early");
    assert!(!edge(false, 0), "a clock of another CPU");
    assert!(edge(false, 6 * THROTTLE_ENDS_NS), "the end");
    assert!(!edge(false, 9 * THROTTLE_ENDS_NS), "once");
    assert!(edge(true, 9 * THROTTLE_ENDS_NS), "the next series");
}

#[test]
fn a_slot_s_state_is_the_first_word_of_its_record() {
    assert_eq!((offset_of!(Vm, generation), offset_of!(Vm, life)), (0, 4));
    let state = SlotState::new(7, Life::Clearing);
    assert_eq!((state.0, state.generation()), (7 | 3 << 32, 7));
    assert!(state.is(Life::Clearing) && !state.is(Life::Exited));
}

#[test]
fn a_record_is_its_context_s_until_that_is_decommissioned() {
    let mut vm = zeroed();
    begin(&mut vm, GuestContext(0x1000), 7, MonotonicNs(50));
    assert_eq!((vm.context, vm.tgid, vm.first_seen), (GuestContext(0x1000), 7, MonotonicNs(50)));
    vm.end(MonotonicNs(90));
    assert_eq!((vm.context, vm.exited), (GuestContext::NONE, MonotonicNs(90)));
    assert_eq!(vm.life, Life::Exited as u32);
}

#[test]
fn a_record_of_a_vm_that_made_no_request_is_as_new_for_the_next_one() {
    let mut vm = zeroed();
    vm.generation = u32::MAX;
    begin(&mut vm, GuestContext(0x1000), 7, MonotonicNs(50));
    (vm.life, vm.used, vm.kick, vm.started) = (Life::Running as u32, 1, 10, 99);
    (vm.psp_ns, vm.tio_requests) = ([0, 70, 3], 2);
    vm.clear();
    assert_eq!(vm.generation, 1, "0 is a slot that nobody had");
    // SAFETY: a record consists of integers, and is as long as it is.
    let bytes =
        unsafe { core::slice::from_raw_parts((&raw const *vm).cast::<u8>(), size_of::<Vm>()) };
    let (counters, limiter) = (offset_of!(Vm, counters), offset_of!(Vm, limiter));
    // What its beginning writes in any case is left.
    let rest = [
        4..counters,
        counters + size_of::<Counters>()..limiter,
        limiter + size_of::<Limiter>()..bytes.len(),
    ];
    for range in rest {
        assert!(bytes[range.clone()].iter().all(|byte| *byte == 0), "{range:?}");
    }
}

#[test]
fn a_context_is_launched_once_and_before_its_first_request() {
    let mut vm = zeroed();
    begin(&mut vm, GuestContext(0x1000), 7, MonotonicNs(50));
    assert!(!vm.is_launched_again(), "it was only created");
    vm.used = ContextUse::Launched as u32;
    assert!(vm.is_launched_again());
    vm.used = ContextUse::Created as u32;
    vm.last_request = MonotonicNs(60);
    assert!(vm.is_launched_again(), "it was launched unseen, and has run");
}

#[test]
fn a_vm_of_which_only_a_decision_is_counted_has_requests() {
    let mut vm = zeroed();
    begin(&mut vm, GuestContext(0x1000), 7, MonotonicNs(50));
    for (used, last_request, expected) in [
        (ContextUse::Created, 0, false),
        (ContextUse::Launched, 0, false),
        (ContextUse::Decided, 0, true),
        (ContextUse::Launched, 60, true),
        (ContextUse::Created, 60, true),
    ] {
        (vm.used, vm.last_request) = (used as u32, MonotonicNs(last_request));
        assert_eq!(vm.has_requests(), expected, "{used:?}, {last_request}");
    }
    begin(&mut vm, GuestContext(0x2000), 8, MonotonicNs(70));
    assert_eq!(vm.used, ContextUse::Created as u32);
}

#[test]
fn a_message_s_number_is_judged_and_what_is_wrong_is_counted() {
    let mut vm = zeroed();
    begin(&mut vm, GuestContext(0x1000), 7, MonotonicNs(50));
    let mut check = |seqno| {
        let message = Summary { seqno, ..Summary::UNKNOWN };
        (vm.check_sequence(&message, true), vm.anomalies)
    };
    assert_eq!(check(1), (SequenceCheck::InOrder, [0, 0]));
    assert_eq!(check(1), (SequenceCheck::Replay, [1, 0]));
    assert_eq!(check(9), (SequenceCheck::Gap, [1, 1]));
}

#[test]
fn every_outcome_has_a_cell_of_its_own() {
    let mut results = Results::NONE;
    for outcome in Outcome::all() {
        assert_eq!(results.get(outcome), 0);
        *results.cell(outcome) += 1;
    }
    assert!(Outcome::all().all(|outcome| results.get(outcome) == 1));
    assert_eq!(results.total(), OUTCOMES as u64);
    assert_eq!(results.get(Outcome(255)), 0);
}

#[test]
fn every_decision_on_every_kind_has_a_cell_of_its_own_in_audit_and_in_enforce() {
    let mut vm = zeroed();
    for mode in [Mode::Audit, Mode::Enforce] {
        for message in MessageType::ALL {
            for decision in Decision::ALL {
                assert_eq!(vm.decisions[message as usize].get(mode, decision), 0);
                *vm.decisions(message as u8).cell(mode, decision) += 1;
                assert_eq!(vm.decisions[message as usize].get(mode, decision), 1);
            }
        }
    }
}

#[test]
fn every_outcome_of_every_kind_has_a_cell_of_its_own() {
    let mut vm = zeroed();
    for message in MessageType::ALL {
        for outcome in Outcome::all() {
            assert_eq!(vm.requests[message as usize].get(outcome), 0);
            *vm.requests(message as u8).cell(outcome) += 1;
            assert_eq!(vm.requests[message as usize].get(outcome), 1);
        }
    }
    assert_eq!(vm.total(), (MessageType::ALL.len() * OUTCOMES) as u64);
}

#[test]
fn a_request_is_counted_by_its_duration_and_its_vmpck() {
    let mut vm = zeroed();
    let stages = Stages { ns: [200_000, 300_000, 700_000] };
    for vmpck in [0, 1, 2, 3, 4, 255] {
        let message = Summary { vmpck, ..Summary::UNKNOWN };
        vm.answer(&Running { message, ..Running::default() }, &stages, Outcome::OK);
    }
    assert_eq!(vm.vmpck, [1, 1, 1, 1, 2], "the last counts what is none");
    let up_to_1500_us = histogram::BOUNDS.iter().position(|bound| *bound == 1_500_000).unwrap();
    assert_eq!((vm.duration[up_to_1500_us], vm.duration.iter().sum()), (6, 6));
    assert_eq!(vm.stage_ns, stages.ns.map(|ns| 6 * ns));
}
