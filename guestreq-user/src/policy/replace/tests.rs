use guestreq_common::{message::MessageType, policy::Backend};
use proptest::prelude::*;

use super::*;
use crate::{
    config::Config,
    host::Identity,
    policy::{Candidate, Named, Overrides, Request},
};

fn policy_file(text: &str) -> PolicyFile {
    Config::parse(text).unwrap().policy
}

fn policy_set(text: &str) -> PolicySet {
    Config::parse(text).unwrap().policy_set(Overrides::default())
}

fn stamp() -> Stamp {
    Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() }
}

fn vm(name: &str) -> Identity {
    Identity { name: name.to_owned(), named: true, ..Identity::default() }
}

fn seen<'a>(identity: &'a Identity, sent: &[MessageType]) -> KnownVm<'a> {
    let sent = sent.iter().copied().collect();
    let vm = Candidate { label: &identity.name, identity, pid: 7, exited: false };
    KnownVm { vm, sent, was_over: false }
}

fn apply(text: &str) -> Apply {
    Apply { policy_file: Some(policy_file(text)), yes: false }
}

fn refused(result: Result<Replacement, Refusal>) -> String {
    match result.unwrap_err() {
        Refusal::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

const WEB: &str = "limit = { rate = \"5/s\", burst = 5 }\n\
                   [[vm]]\nmatch = { name = \"web\" }\nmode = \"observe\"\n";

#[test]
fn an_applied_file_precedes_the_configuration_and_follows_single_overrides() {
    let web = vm("web");
    let policy_set = policy_set(
        "mode = \"enforce\"\nlimit = \"off\"\n[[vm]]\nmatch = { name = \"w*\" }\nmode = \"audit\"",
    );
    let applied = policy_set
        .with_applied(&apply(WEB), &stamp(), &[seen(&web, &[])], Service::PUBLISHED)
        .unwrap();
    assert_eq!(
        describe(&applied.changed),
        "default: mode enforce, allow key, report, tsc_info, \
        limit off -> mode enforce, allow key, report, tsc_info, limit 5/s, burst 5; \"web\": mode \
        audit, allow key, report, tsc_info, limit off -> mode observe, allow key, report, \
        tsc_info, limit 5/s, burst 5"
    );
    let policy_set = applied.policy_set;
    let of_web = policy_set.resolve(&web);
    assert_eq!(
        of_web.mode.origin.to_string(),
        "applied config.toml:2 (name = \"web\"; uid 0, 2026-01-02T03:04:05Z)"
    );
    assert_eq!(
        of_web.limit.origin.to_string(),
        "applied config.toml:1 (uid 0, 2026-01-02T03:04:05Z)"
    );
    // Single overrides precede it, of which the next file warns.
    let off = r#"{"target": {"vm": "web"}, "change": {"mode": "audit"}}"#;
    let off: Request = serde_json::from_str(off).unwrap();
    let set =
        policy_set.plan(&off, &stamp(), &[seen(&web, &[])], Service::PUBLISHED).unwrap().policy_set;
    assert_eq!(set.resolve(&web).mode.value, Named(Mode::Audit));
    let again = set
        .with_applied(&apply("allow = [\"tsc_info\"]"), &stamp(), &[], Service::PUBLISHED)
        .unwrap();
    assert!(again.warnings[0].contains("over the file: mode of \"web\""), "{again:?}");
    assert!(
        again.policy_set.overrides.applied.unwrap().policy_file.rules.is_empty(),
        "the last file's are removed"
    );
    let dropped = set
        .with_applied(&Apply { policy_file: None, yes: false }, &stamp(), &[], Service::PUBLISHED)
        .unwrap();
    assert_eq!(dropped.policy_set.overrides.applied, None);
    assert_eq!(dropped.policy_set.overrides.vms.len(), 1, "what was set one by one stays");
}

#[test]
fn a_file_is_refused_what_a_command_is_refused() {
    let web = vm("web");
    let enforce = apply("mode = \"enforce\"");
    let vms = [seen(&web, &[MessageType::Export])];
    let why = refused(policy_set("").with_applied(&enforce, &stamp(), &vms, Service::PUBLISHED));
    assert!(why.contains("\"web\" has sent export (--yes to proceed)"), "{why}");
    let insisted = Apply { yes: true, ..apply("mode = \"enforce\"") };
    let done = policy_set("").with_applied(&insisted, &stamp(), &vms, Service::PUBLISHED).unwrap();
    assert!(done.starts_enforcing && done.warnings[0].contains("would lose a VMPCK"), "{done:?}");
    let why = refused(policy_set("backend = \"none\"").with_applied(
        &enforce,
        &stamp(),
        &[],
        Service::PUBLISHED,
    ));
    assert!(why.contains("the backend is none"), "{why}");
    let why = refused(policy_set("").with_applied(&apply(""), &stamp(), &[], Service::PUBLISHED));
    assert!(why.contains("sets nothing"), "{why}");
    // A client that reads files with less care.
    let mut slow = apply("limit = { rate = \"1/m\", force = true }");
    let limit = slow.policy_file.as_mut().unwrap().limit.as_mut().unwrap();
    let crate::policy::Limit::On(throttle) = &mut limit.value else { panic!() };
    throttle.force = false;
    let why = refused(policy_set("").with_applied(&slow, &stamp(), &[], Service::PUBLISHED));
    assert!(why.starts_with("config.toml:1: 1/m is too slow"), "{why}");
}

#[test]
fn only_new_warnings_are_given() {
    let policy_set = policy_set("[[vm]]\nmatch = { name = \"old\" }\nallow = [\"report\"]");
    let warnings = policy_set
        .with_applied(&apply("allow = [\"key\"]"), &stamp(), &[], Service::PUBLISHED)
        .unwrap()
        .warnings;
    let [why] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(why.contains("config.toml:1: ") && !why.contains("old"), "{why}");
}

#[test]
fn a_reload_is_never_refused_for_lost_vmpcks_but_warns() {
    let web = vm("web");
    let vms = [seen(&web, &[MessageType::Export])];
    let planned = policy_set("")
        .with_file(policy_file("mode = \"enforce\""), &vms, Service::PUBLISHED)
        .unwrap();
    assert!(
        planned.starts_enforcing && planned.warnings[0].contains("would lose a VMPCK"),
        "{planned:?}"
    );
    assert!(
        !planned
            .policy_set
            .with_file(policy_file("mode = \"enforce\""), &vms, Service::PUBLISHED)
            .unwrap()
            .starts_enforcing
    );
    let same = planned
        .policy_set
        .with_file(policy_file("# only lines move\nmode = \"enforce\""), &vms, Service::PUBLISHED)
        .unwrap();
    assert!(same.changed.is_empty());
    let less = policy_set("mode = \"audit\"")
        .with_file(policy_file("mode = \"observe\""), &vms, Service::PUBLISHED)
        .unwrap();
    assert!(!less.starts_enforcing && less.warnings.is_empty(), "{less:?}");
    let one_more = "[[vm]]\nmatch = { name = \"web\" }\nmode = \"enforce\"";
    assert!(
        policy_set("")
            .with_file(policy_file(one_more), &[], Service::PUBLISHED)
            .unwrap()
            .starts_enforcing,
        "also of who does not run"
    );
}

#[test]
fn an_applied_file_is_read_as_written() {
    let policy_set = policy_set("")
        .with_applied(&apply(WEB), &stamp(), &[], Service::PUBLISHED)
        .unwrap()
        .policy_set;
    let text = serde_json::to_string(&policy_set.overrides).unwrap();
    let read: Overrides = serde_json::from_str(&text).unwrap();
    assert_eq!(read, policy_set.overrides);
    // What an earlier version wrote is read, too.
    assert_eq!(serde_json::from_str::<Overrides>(r#"{"vms": {}}"#).unwrap(), Overrides::default());
}

fn any_file() -> impl Strategy<Value = PolicyFile> {
    let rule = ("[abw*]{1,2}", 0..3usize, any::<bool>());
    (0..4usize, proptest::collection::vec(rule, 0..4)).prop_map(|(mode, rules)| {
        let mut text = Mode::ALL
            .get(mode)
            .map_or(String::new(), |mode| format!("mode = \"{}\"\n", mode.name()));
        for (name, mode, all) in rules {
            let mode = Mode::ALL[mode].name();
            let allow = if all { "\"report\", \"export\"" } else { "" };
            text.push_str(&format!(
                "[[vm]]\nmatch = {{ name = \"{name}\" }}\nmode = \"{mode}\"\nallow = [{allow}]\n"
            ));
        }
        policy_file(&text)
    })
}

proptest! {
    /// After any reloads the policy set is the one of a fresh start.
    #[test]
    fn any_reloads_equal_a_fresh_start(files in proptest::collection::vec(any_file(), 1..4)) {
        let vms = ["a", "b", "w", "ab", "z"].map(vm);
        let seen: Vec<_> = vms.iter().map(|vm| seen(vm, &[])).collect();
        let mut running = policy_set("");
        for policy_file in &files {
            running = running.with_file(policy_file.clone(), &seen, Service::PUBLISHED).unwrap().policy_set;
        }
        let file = files.last().unwrap().clone();
        let fresh = PolicySet { backend: Backend::Gate, file, overrides: Overrides::default() };
        for vm in &vms {
            prop_assert_eq!(running.resolve(vm).to_policy(3).rules, fresh.resolve(vm).to_policy(3).rules);
            prop_assert_eq!(running.resolve(vm).to_policy(3).rate, fresh.resolve(vm).to_policy(3).rate);
        }
        prop_assert_eq!(running.default(), fresh.default());
        prop_assert_eq!(running.waits(), fresh.waits());
    }

    /// A setting of the later file wins.
    #[test]
    fn a_later_file_wins(earlier in any_file(), later in any_file(), name in "[abw]{1,2}") {
        let vm = vm(&name);
        let resolve = |file: PolicyFile| {
            PolicySet { backend: Backend::Gate, file, overrides: Overrides::default() }.resolve(&vm)
        };
        let rule = later.rules.iter().any(|placed| placed.rule.matches.matches(&vm));
        if rule {
            prop_assert_eq!(resolve(later.clone().over(earlier)).allow, resolve(later).allow);
        } else {
            prop_assert_eq!(resolve(later.over(earlier.clone())).allow.value, resolve(earlier).allow.value);
        }
    }
}
