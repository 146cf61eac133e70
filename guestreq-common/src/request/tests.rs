use super::*;
use crate::message::{Header, Kind};
use proptest::prelude::*;

mod stack;

fn of_type(message_type: u8) -> Summary {
    Summary::of(&Header { message_type, ..Header::default() })
}

#[test]
fn a_request_walks_through_its_states() {
    let mut thread = Thread::default();
    assert_eq!(thread.want_lock(10), None);
    thread.queue(30, 0x1000, of_type(5));
    assert_eq!((thread.wants_lock, thread.queued), (10, 30));
    assert_eq!(thread.state, State::Queued as u32);
}

#[test]
fn a_message_that_is_seen_again_on_its_way_is_the_same_request() {
    let mut thread = Thread::default();
    thread.want_lock(10);
    assert!(!thread.queues(0x1000, &of_type(5)), "its first call was not seen");
    thread.queue(30, 0x1000, of_type(5));
    thread.decided = Decided::AtTheGate as u32;
    assert!(thread.queues(0x1000, &of_type(5)));
    assert!(!thread.queues(0x2000, &of_type(5)), "another VM's");
    assert!(!thread.queues(0x1000, &of_type(7)), "the next one: the first ended unseen");
    thread.queue(40, 0x1000, of_type(7));
    assert!(!thread.take_decided(), "nobody has decided the next one");
}

#[test]
fn a_request_whose_end_was_not_seen_is_closed_by_the_next_one() {
    let mut thread = Thread::default();
    thread.want_lock(10);
    let abandoned = thread.want_lock(20).expect("the first is open");
    assert_eq!((abandoned.message.kind, abandoned.queued), (Kind::Unknown as u8, false));
    thread.queue(30, 0, of_type(5));
    let abandoned = thread.want_lock(40).expect("the second is open");
    assert_eq!((abandoned.message.kind, abandoned.queued), (Kind::Report as u8, true));
    thread.abandon();
    assert_eq!(thread.abandon(), None, "closed once");
}

#[test]
fn a_request_that_the_gate_asked_somebody_else_about_is_not_lost() {
    let mut thread = Thread::default();
    thread.queue(30, 0x1000, of_type(5));
    let refused = thread.abandon().expect("it was open");
    assert!(refused.is_refused_elsewhere(true));
    assert!(!refused.is_refused_elsewhere(false), "nobody could refuse it");
    thread.queue(30, 0x1000, of_type(5));
    thread.decided = Decided::AtTheGate as u32;
    let admitted = thread.abandon().expect("it was open");
    assert!(!admitted.is_refused_elsewhere(true), "it went on to the PSP");
    thread.want_lock(10);
    let failed = thread.abandon().expect("it was open");
    assert!(!failed.is_refused_elsewhere(true), "it never came to the gate");
}

#[test]
fn a_thread_s_vm_is_the_one_that_it_ran_last() {
    let mut thread = Thread::default();
    let vm = VmRef { slot: 3, generation: 7 };
    thread.runs(vm);
    assert_eq!(thread.ran(), vm);
}

#[test]
fn without_the_first_probe_the_lock_s_part_is_zero() {
    let mut thread = Thread { wants_lock: 7, ..Thread::default() };
    thread.queue(30, 0, Summary::default());
    assert_eq!(thread.wants_lock, 30);
}

#[test]
fn a_record_s_next_thread_inherits_nothing() {
    let mut thread = Thread { tgid: 7, vm: 3, held_until: STOPPED, ..Thread::default() };
    thread.queue(30, 0, Summary::default());
    thread.decided = Decided::AtTheGate as u32;
    thread.belongs_to(8);
    assert_eq!((thread.tgid, thread.vm, thread.held_until), (8, NO_VM, 0));
    assert!(!thread.take_decided());
    assert_eq!(thread.abandon(), None);
}

#[test]
fn a_decision_is_for_one_request() {
    let mut thread = Thread::default();
    thread.queue(30, 0, Summary::default());
    thread.decided = Decided::AtTheGate as u32;
    assert!(thread.take_decided());
    assert!(!thread.take_decided());
    thread.decided = Decided::AtTheGate as u32;
    thread.want_lock(40);
    assert!(!thread.take_decided(), "the next request has none");
}

#[test]
fn the_psp_takes_a_request_over_as_far_as_it_was_seen() {
    let taken = |thread: &mut Thread| {
        let mut running = Running::default();
        let queued = running.take_over(thread, 50);
        assert_eq!((thread.state, running.vm), (State::Idle as u32, 3));
        (queued, running.wants_lock, running.queued, running.started, running.message)
    };
    let mut thread = Thread { vm: 3, ..Thread::default() };
    assert_eq!(taken(&mut thread), (false, 50, 50, 50, Summary::UNKNOWN));
    thread.want_lock(10);
    assert_eq!(taken(&mut thread), (false, 10, 50, 50, Summary::UNKNOWN));
    thread.want_lock(10);
    thread.queue(30, 0x1000, of_type(5));
    assert_eq!(taken(&mut thread), (true, 10, 30, 50, of_type(5)));
    assert_eq!(thread.abandon(), None, "it is the PSP's now");
}

proptest! {
    #[test]
    fn stages_add_up_to_the_total(a in 0u64..1 << 40, b in 0u64..1 << 40, c in 0u64..1 << 40) {
        let request =
            Running { wants_lock: 5, queued: 5 + a, started: 5 + a + b, ..Running::default() };
        let stages = Stages::of(&request, 5 + a + b + c);
        prop_assert_eq!(stages.ns, [a, b, c]);
        prop_assert_eq!(stages.total(), a + b + c);
        let ended = Running { ended: 5 + a + b + c, ..request };
        prop_assert_eq!(ended.stages(), stages);
    }
}
