use super::*;
use crate::wire::events::{
    EventVm,
    tests::{event, event_vm, example},
};

#[test]
fn a_query_survives_encoding() {
    let query = Query {
        filter: Filter {
            kinds: vec![Kind::Request, Kind::NewVm],
            vms: vec!["a b&kind=gap\n".to_owned(), "\u{fc}ber".to_owned()],
            all: true,
        },
        since: Some("2026-01-31T12:00:00Z".parse().unwrap()),
        last: Some(10),
        after: Some(After { agent: "00000000000000aa".parse().unwrap(), id: 7 }),
        follow: true,
    };
    assert_eq!(Query::parse(&query.to_string()), Ok(query));
    assert_eq!(Query::parse(""), Ok(Query::default()));
    assert!(Query::parse("follow&all=false").is_ok_and(|query| query.follow));
}

#[test]
fn the_error_for_a_wrong_parameter_lists_what_is_allowed() {
    for (query, what) in [
        ("kind=nonsense", "there are request, slow, replay"),
        ("kind=request", "needs all=true"),
        ("since=soon", "since: not a time"),
        ("last=-1", "last: \"-1\" is not a number"),
        ("follow=maybe", "neither true nor false"),
        ("after=7", "after: \"7\" is not"),
        ("sinc=1h", "unknown parameter \"sinc\""),
        ("vm=%ff%00&kind=%ff", "unknown kind"),
    ] {
        let error = Query::parse(query).unwrap_err();
        assert!(error.contains(what), "{query}: {error}");
    }
}

#[test]
fn a_vm_matches_by_label_name_or_uuid() {
    let event_vm = EventVm { uuid: Some("1-2".to_owned()), ..event_vm("web") };
    let denied = event(1, Some(event_vm), example(Kind::Denied));
    let admits = |vm: &str| {
        let filter = Filter { vms: vec!["other".to_owned(), vm.to_owned()], ..Filter::default() };
        filter.admits(&denied)
    };
    assert!(admits("web") && admits("web@7") && admits("1-2"));
    assert!(!admits("we") && !admits(""));
}

#[test]
fn a_change_of_a_vm_s_policy_is_that_vm_s() {
    let changed = event(1, None, example(Kind::PolicyChanged));
    let filter = |vm: &str| Filter { vms: vec![vm.to_owned()], ..Filter::default() };
    assert!(filter("web-1").admits(&changed));
    assert!(!filter("web-2").admits(&changed));
}

#[test]
fn losses_are_always_reported_and_requests_only_with_all() {
    let [request, lost] = [Kind::Request, Kind::Lost].map(|kind| event(1, None, example(kind)));
    let narrow = Filter { kinds: vec![Kind::Slow], vms: vec!["x".to_owned()], all: false };
    assert!(narrow.admits(&lost));
    assert!(!Filter::default().admits(&request));
    let all = Filter { all: true, ..Filter::default() };
    assert!(all.admits(&request) && all.wants_requests());
    let slow = Filter { kinds: vec![Kind::Slow], all: true, ..Filter::default() };
    assert!(!slow.wants_requests(), "a follower that filters them out does not enable them");
}
