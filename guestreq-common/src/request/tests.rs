use super::*;
use crate::message::{Header, MessageType};
use proptest::prelude::*;

mod stack;

const VM: VmRef = VmRef { slot: 3, generation: 7 };

fn of_type(message_type: u8) -> Summary {
    Summary::of(&Header { message_type, ..Header::default() })
}

#[test]
fn a_request_walks_through_its_states() {
    let mut thread = Thread::default();
    assert!(thread.is_idle());
    assert_eq!(thread.want_lock(MonotonicNs(10)), None);
    assert!(!thread.is_idle() && !thread.is_queued());
    thread.queue(MonotonicNs(30), GuestContext(0x1000), of_type(5));
    assert_eq!((thread.wants_lock, thread.queued), (MonotonicNs(10), MonotonicNs(30)));
    assert!(thread.is_queued() && !thread.is_idle());
}

#[test]
fn a_message_that_is_seen_again_on_its_way_is_the_same_request() {
    let mut thread = Thread::default();
    thread.want_lock(MonotonicNs(10));
    assert!(!thread.queues(GuestContext(0x1000), &of_type(5)), "its first call was not seen");
    thread.queue(MonotonicNs(30), GuestContext(0x1000), of_type(5));
    thread.set_admitted(false);
    assert!(thread.queues(GuestContext(0x1000), &of_type(5)));
    assert!(!thread.queues(GuestContext(0x2000), &of_type(5)), "another VM's");
    assert!(
        !thread.queues(GuestContext(0x1000), &of_type(7)),
        "the next one: the first ended unseen"
    );
    thread.queue(MonotonicNs(40), GuestContext(0x1000), of_type(7));
    assert!(!thread.take_decided().0, "nobody has decided the next one");
}

#[test]
fn a_request_whose_end_was_not_seen_is_closed_by_the_next_one() {
    let mut thread = Thread::default();
    thread.want_lock(MonotonicNs(10));
    let abandoned = thread.want_lock(MonotonicNs(20)).expect("the first is open");
    assert_eq!((abandoned.message.row, abandoned.queued), (MessageType::Unknown as u8, false));
    thread.queue(MonotonicNs(30), GuestContext::NONE, of_type(5));
    let abandoned = thread.want_lock(MonotonicNs(40)).expect("the second is open");
    assert_eq!((abandoned.message.row, abandoned.queued), (MessageType::Report as u8, true));
    thread.abandon();
    assert_eq!(thread.abandon(), None, "closed once");
}

#[test]
fn a_request_that_the_gate_asked_somebody_else_about_is_not_lost() {
    let mut thread = Thread::default();
    thread.queue(MonotonicNs(30), GuestContext(0x1000), of_type(5));
    let refused = thread.abandon().expect("it was open");
    assert!(refused.is_refused_elsewhere(true));
    assert!(!refused.is_refused_elsewhere(false), "nobody could refuse it");
    thread.queue(MonotonicNs(30), GuestContext(0x1000), of_type(5));
    thread.set_admitted(false);
    let admitted = thread.abandon().expect("it was open");
    assert!(!admitted.is_refused_elsewhere(true), "it went on to the PSP");
    thread.want_lock(MonotonicNs(10));
    let failed = thread.abandon().expect("it was open");
    assert!(!failed.is_refused_elsewhere(true), "it never came to the gate");
}

#[test]
fn without_the_first_probe_the_lock_s_part_is_zero() {
    let mut thread = Thread { wants_lock: MonotonicNs(7), ..Thread::default() };
    thread.queue(MonotonicNs(30), GuestContext::NONE, Summary::default());
    assert_eq!(thread.wants_lock, MonotonicNs(30));
}

#[test]
fn a_record_s_next_thread_inherits_nothing() {
    let mut thread = Thread { tgid: 7, vm: VM, held_until: STOPPED, ..Thread::default() };
    thread.queue(MonotonicNs(30), GuestContext::NONE, Summary::default());
    thread.set_admitted(false);
    thread.belongs_to(8);
    assert_eq!(
        (thread.tgid, thread.vm.is_none(), thread.held_until),
        (8, true, MonotonicNs::NEVER)
    );
    assert!(!thread.take_decided().0);
    assert_eq!(thread.abandon(), None);
}

#[test]
fn a_vcpu_is_held_for_one_type_for_a_time_or_for_good() {
    for kind in MessageType::ALL {
        let row = kind as u8;
        let held = until_allowed(row);
        assert_eq!(disallowed_row(held), Some(row));
        assert!(held < STOPPED && held.0 > u64::MAX / 2, "a clock may get there: {held:?}");
    }
    for time in [MonotonicNs::NEVER, MonotonicNs(1), MonotonicNs(u64::MAX / 2), STOPPED] {
        assert_eq!(disallowed_row(time), None);
    }
}

#[test]
fn a_decision_is_for_one_request() {
    let mut thread = Thread::default();
    thread.queue(MonotonicNs(30), GuestContext::NONE, Summary::default());
    thread.set_admitted(false);
    assert!(thread.take_decided().0);
    assert!(!thread.take_decided().0);
    thread.set_admitted(false);
    thread.want_lock(MonotonicNs(40));
    assert!(!thread.take_decided().0, "the next request has none");
}

#[test]
fn the_psp_takes_a_request_over_as_far_as_it_was_seen() {
    let taken = |thread: &mut Thread| {
        let mut running = Running::default();
        let queued = running.take_from(thread, MonotonicNs(50));
        assert_eq!((thread.is_idle(), running.vm), (true, VM));
        let times = [running.wants_lock, running.queued, running.started].map(|time| time.0);
        (queued, times, running.message)
    };
    let mut thread = Thread { vm: VM, ..Thread::default() };
    assert_eq!(taken(&mut thread), (false, [50, 50, 50], Summary::UNKNOWN));
    thread.want_lock(MonotonicNs(10));
    assert_eq!(taken(&mut thread), (false, [10, 50, 50], Summary::UNKNOWN));
    thread.want_lock(MonotonicNs(10));
    thread.queue(MonotonicNs(30), GuestContext(0x1000), of_type(5));
    assert_eq!(taken(&mut thread), (true, [10, 30, 50], of_type(5)));
    assert_eq!(thread.abandon(), None, "it is the PSP's now");
}

proptest! {
    #[test]
    fn stages_add_up_to_the_total(a in 0u64..1 << 40, b in 0u64..1 << 40, c in 0u64..1 << 40) {
        let [wants_lock, queued, started, ended] =
            [5, 5 + a, 5 + a + b, 5 + a + b + c].map(MonotonicNs);
        let request = Running { wants_lock, queued, started, ended, ..Running::default() };
        let stages = Stages::of(&request, ended);
        prop_assert_eq!(stages.ns, [a, b, c]);
        prop_assert_eq!(stages.total(), a + b + c);
        prop_assert_eq!(request.stages(), stages);
    }
}
