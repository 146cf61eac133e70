use std::{future::Future as _, pin::pin, task};

use super::*;
use crate::wire::events::{Filter, tests::examples};

fn started(n: usize) -> EventData {
    EventData::AgentStarted { version: n.to_string(), agent_pid: 1 }
}

fn journal() -> Arc<Journal> {
    Arc::new(Journal::new())
}

fn ids(follower: &mut Follower) -> Vec<u64> {
    std::iter::from_fn(|| follower.take().map(|event| event.id)).collect()
}

fn lost(event: &Event) -> Option<(&str, u64)> {
    match &event.what {
        EventData::Lost(lost) => Some((&lost.reason, lost.count)),
        _ => None,
    }
}

fn follow() -> Query {
    Query { follow: true, last: Some(0), ..Query::default() }
}

#[test]
fn past_and_new_events_come_once_and_in_order() {
    let journal = journal();
    (0..3).for_each(|n| journal.record(started(n)));
    let mut follower = journal.follow(&Query { follow: true, ..Query::default() }, false).unwrap();
    (3..5).for_each(|n| journal.record(started(n)));
    assert_eq!(ids(&mut follower), [1, 2, 3, 4, 5]);
    journal.record(started(5));
    assert_eq!(ids(&mut follower), [6]);
    let mut past = journal.follow(&Query { last: Some(2), ..Query::default() }, false).unwrap();
    assert_eq!(ids(&mut past), [5, 6]);
}

#[test]
fn kept_events_are_bounded_and_evicted_ones_are_reported() {
    let journal = journal();
    (0..10_007).for_each(|n| journal.record(started(n)));
    let mut follower = journal.follow(&Query::default(), false).unwrap();
    let first = follower.take().unwrap();
    assert_eq!((lost(&first), first.id), (Some(("forgotten", 7)), 7));
    assert_eq!(follower.take().unwrap().id, 8);
    let since = Some(Since(Time::now().before(Duration::from_secs(3600))));
    assert!(
        lost(&journal.follow(&Query { since, ..Query::default() }, false).unwrap().take().unwrap())
            .is_some()
    );
    // Nothing within the range is missing.
    let mut last = journal.follow(&Query { last: Some(3), ..Query::default() }, false).unwrap();
    assert_eq!(ids(&mut last), [10_005, 10_006, 10_007]);
}

#[test]
fn long_names_do_not_make_the_agent_grow() {
    let journal = journal();
    for _ in 0..1000 {
        journal.record(EventData::ConfigFailed { error: "x".repeat(100_000) });
    }
    let inner = journal.inner();
    let bytes: usize = inner.kept.iter().map(|event| event.weight()).sum();
    assert!(bytes < 9 << 20, "{bytes}");
    assert_eq!(inner.kept.iter().count() as u64 + inner.forgotten, 1000);
}

#[test]
fn a_slow_follower_gets_its_losses_reported_in_their_place() {
    let journal = journal();
    let mut slow = journal.follow(&follow(), false).unwrap();
    (0..5000).for_each(|n| journal.record(started(n)));
    let heard: Vec<_> = (0..4096).map(|_| slow.take().unwrap().id).collect();
    assert_eq!(heard, (1..=4096).collect::<Vec<_>>());
    let loss = slow.take().unwrap();
    assert_eq!((lost(&loss), loss.id), (Some(("slow_reader", 904)), 5000));
    assert!(slow.take().is_none(), "reported once");
    journal.record(started(0));
    assert_eq!(ids(&mut slow), [5001], "it continues");
}

#[test]
fn filtered_events_do_not_count_as_missed() {
    let journal = journal();
    let filter = Filter { kinds: vec![Kind::PolicyChanged], ..Filter::default() };
    let mut follower = journal.follow(&Query { filter, ..follow() }, false).unwrap();
    (0..5000).for_each(|n| journal.record(started(n)));
    assert!(follower.take().is_none());
}

#[test]
fn requests_go_to_followers_of_all_and_are_not_kept() {
    let journal = journal();
    let request = || examples().remove(0);
    assert_eq!(request().kind(), Kind::Request);
    assert!(!journal.wants_requests());
    let filter = Filter { all: true, ..Filter::default() };
    let mut all = journal.follow(&Query { filter, ..follow() }, false).unwrap();
    let mut others = journal.follow(&follow(), false).unwrap();
    assert!(journal.wants_requests());
    journal.record(request());
    assert_eq!(ids(&mut all), [1]);
    assert!(others.take().is_none());
    drop(all);
    assert!(!journal.wants_requests(), "no follower wants all");
    assert!(journal.follow(&Query::default(), false).unwrap().take().is_none());
}

#[test]
fn after_an_event_continues_in_the_same_agent_only() {
    let journal = journal();
    (0..3).for_each(|n| journal.record(started(n)));
    let after = |agent| Query { after: Some(After { agent, id: 2 }), ..Query::default() };
    assert_eq!(ids(&mut journal.follow(&after(journal.life), false).unwrap()), [3]);
    let other = "00000000000000ff".parse().unwrap();
    assert_eq!(ids(&mut journal.follow(&after(other), false).unwrap()), [1, 2, 3]);
}

#[test]
fn followers_are_limited_and_a_dropped_one_makes_room() {
    let journal = journal();
    let mut all: Vec<_> =
        (0..TooMany::MOST).map(|_| journal.follow(&follow(), false).unwrap()).collect();
    assert_eq!(journal.follow(&follow(), false).err(), Some(TooMany));
    assert!(journal.follow(&Query::default(), false).is_ok(), "past events are not limited");
    all.pop();
    assert!(journal.follow(&follow(), false).is_ok());
}

/// Row 12 of the second review.
#[test]
fn other_users_take_no_followers_from_root() {
    let journal = journal();
    let _others: Vec<_> =
        (0..TooMany::MOST).map(|_| journal.follow(&follow(), false).unwrap()).collect();
    let mut roots: Vec<_> =
        (0..TooMany::MOST).map(|_| journal.follow(&follow(), true).unwrap()).collect();
    assert_eq!(journal.follow(&follow(), true).err(), Some(TooMany), "root is limited, too");
    journal.record(started(0));
    assert_eq!(ids(&mut roots[0]), [1]);
}

#[test]
fn a_follower_is_woken_by_new_events_only() {
    let journal = journal();
    let mut follower = journal.follow(&follow(), false).unwrap();
    let mut context = task::Context::from_waker(task::Waker::noop());
    {
        let mut next = pin!(follower.next());
        assert!(next.as_mut().poll(&mut context).is_pending());
        journal.record(started(0));
        assert!(next.as_mut().poll(&mut context).is_ready());
    }
    let mut past = journal.follow(&Query { last: Some(0), ..Query::default() }, false).unwrap();
    let mut next = pin!(past.next());
    assert!(matches!(next.as_mut().poll(&mut context), task::Poll::Ready(None)));
}
