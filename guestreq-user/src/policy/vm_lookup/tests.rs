use proptest::prelude::*;

use super::*;

fn identity(name: &str, uuid: &str) -> Identity {
    let (name, uuid) = (name.to_owned(), uuid.to_owned());
    Identity { named: !name.is_empty(), name, uuid, ..Identity::default() }
}

fn candidate<'a>(label: &'a str, identity: &'a Identity, pid: u32) -> Candidate<'a> {
    Candidate { label, identity, pid, exited: false }
}

fn unclear(text: &str, all: &[Candidate<'_>]) -> String {
    match find(text, all).unwrap_err() {
        LookupError::Unknown(why) | LookupError::Ambiguous(why) => why,
    }
}

#[test]
fn a_pod_s_vm_is_found_by_its_namespace_its_name_alone_and_its_pod_s_uid() {
    let pod = |namespace: &str, pod_uid: &str| Identity {
        namespace: namespace.to_owned(),
        pod_uid: pod_uid.to_owned(),
        ..identity("web", "")
    };
    let (dev, prod) = (pod("dev", "1858680e"), pod("prod", "a5ea884f"));
    let all = [candidate("dev/web", &dev, 10), candidate("prod/web@11", &prod, 11)];
    for (text, at) in [("dev/web", 0), ("1858680E", 0), ("prod/web", 1), ("a5ea884f", 1)] {
        assert_eq!(find(text, &all), Ok(at), "{text}");
    }
    assert_eq!(find("web", &all[..1]), Ok(0));
    assert!(matches!(find("web", &all), Err(LookupError::Ambiguous(_))), "not either of them");
}

#[test]
fn a_vm_is_found_by_label_name_uuid_and_pid() {
    let (web, db, none) = (identity("web", "7A-01"), identity("db", ""), identity("", ""));
    let all = [
        candidate("web", &web, 10),
        candidate("db@11", &db, 11),
        candidate("snpload-12", &none, 12),
    ];
    for (text, at) in [
        ("web", 0),
        ("7a-01", 0),
        ("10", 0),
        ("db", 1),
        ("db@11", 1),
        ("snpload-12", 2),
        ("pid:12", 2),
    ] {
        assert_eq!(find(text, &all), Ok(at), "{text}");
    }
    for text in ["", "we", "WEB", "13", "pid:13", "snpload"] {
        assert!(matches!(find(text, &all), Err(LookupError::Unknown(_))), "{text}");
    }
}

#[test]
fn an_ambiguous_text_is_an_error_with_pids() {
    // One has taken the other's UUID as its name, and a third its pid.
    let (web, thief) = (identity("web", "7a"), identity("7a", ""));
    let number = identity("10", "");
    let all =
        [candidate("web", &web, 10), candidate("7a", &thief, 11), candidate("10", &number, 12)];
    assert_eq!(
        unclear("7a", &all),
        "\"7a\" matches several VMs: \"web\" (pid:10); \"7a\" (pid:11): give the pid"
    );
    assert!(unclear("10", &all).contains("\"web\" (pid:10); \"10\" (pid:12)"));
    assert_eq!(find("pid:10", &all), Ok(0));
    assert_eq!(find("web", &all), Ok(0));
}

#[test]
fn namesakes_count_as_one_and_running_vms_precede_exited_ones() {
    let web = identity("web", "");
    let old = Candidate { exited: true, ..candidate("web@9", &web, 9) };
    let all = [old, candidate("web@12", &web, 12), candidate("web", &web, 10)];
    assert_eq!(find("web", &all), Ok(2));
    assert_eq!(find("12", &all), Ok(1));
    assert_eq!(find("web@9", &all), Ok(0), "it exited, but its name is known");
}

#[test]
fn an_unknown_vm_s_error_has_the_nearest_names() {
    let names = ["web-1", "web-2", "db", "worker"].map(|name| identity(name, ""));
    let all: Vec<_> = names.iter().zip(1..).map(|(vm, pid)| candidate(&vm.name, vm, pid)).collect();
    assert_eq!(unclear("wbe-1", &all), "no VM \"wbe-1\": did you mean \"web-1\"; \"web-2\"?");
    assert_eq!(unclear("wroker", &all), "no VM \"wroker\": did you mean \"worker\"?");
    let far = unclear("frontend", &all);
    assert!(far.ends_with("there are \"web-1\"; \"web-2\"; \"db\"; \"worker\""), "{far}");
    assert_eq!(unclear("web", &[]), "no VM \"web\": no VM is running");
}

#[test]
fn the_longer_a_name_is_the_more_typing_errors_it_may_have() {
    for (typed, name, is_near) in [
        ("dv", "db", true),
        ("dvv", "db", false),
        ("frantand", "frontend", true),
        ("frantantt", "frontend", false),
    ] {
        let suggestion = instead(typed, &[name]);
        assert_eq!(suggestion.starts_with("did you mean"), is_near, "{typed}: {suggestion}");
    }
    // What no label holds is none, and would take long to compare.
    for (length, is_near) in [(MAX_TYPED, true), (MAX_TYPED + 1, false), (MAX_TYPED + 2, false)] {
        let suggestion = instead(&"x".repeat(length), &[&"x".repeat(MAX_TYPED)]);
        assert_eq!(suggestion.starts_with("did you mean"), is_near, "{length}");
    }
}

#[test]
fn a_hostile_name_is_matched_exactly_and_shown_on_one_short_line() {
    let long = "x".repeat(4096);
    let names = ["a\"b\nc\u{1b}[31m", long.as_str()].map(|name| identity(name, ""));
    let all: Vec<_> = names.iter().zip(1..).map(|(vm, pid)| candidate("label", vm, pid)).collect();
    assert_eq!(find("a\"b\nc\u{1b}[31m", &all), Ok(0));
    assert_eq!(find(&long, &all), Ok(1));
    let why = unclear(&long[1..], &all);
    assert!(why.contains("… (4095 characters)") && why.len() < 300, "{why}");
    let why = unclear("a\nb\u{1b}", &all);
    assert!(why.starts_with("no VM \"a\\nb\\u{1b}\""), "{why}");
}

proptest! {
    #[test]
    fn every_vm_can_be_named_whatever_the_others_are_called(
        names in proptest::collection::vec("(1?[0-9])|web|(pid:[0-9])|", 1..8)
    ) {
        let identities: Vec<_> = names.iter().map(|name| identity(name, "")).collect();
        let all: Vec<_> = identities.iter().zip(1..)
            .map(|(vm, pid)| candidate(&vm.name, vm, pid)).collect();
        for (i, vm) in all.iter().enumerate() {
            prop_assert_eq!(find(&format!("pid:{}", vm.pid), &all), Ok(i));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text: String, name: String) {
        let vm = identity(&name, "");
        let _ = find(&text, &[candidate(&name, &vm, 7)]);
    }
}
