use std::fs;

use guestreq_common::host::EnforcementRecord;

use super::*;
use crate::{bpf::records::tests::in_memory, policy::Overrides};

/// A configuration, with the overrides' file if there is one.
fn config(text: &str, overrides: Option<&str>) -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    if let Some(overrides) = overrides {
        fs::write(folder.path().join("overrides.json"), overrides).unwrap();
    }
    let config = Config { state: folder.path().to_owned(), ..Config::parse(text).unwrap() };
    (folder, config)
}

/// Row 3 of the second review: it was `observe`, so that no alert could fire.
#[test]
fn overrides_that_cannot_be_read_count_as_the_strictest_they_may_be() {
    const STAMP: &str = r#""uid": 0, "at": "2026-01-02T03:04:05Z""#;
    let set = |mode: &str| format!(r#"{{"default": {{"mode": {{"value": "{mode}", {STAMP}}}}}}}"#);
    let new = |mode: &str| format!(r#"{{"of a newer version": true, "mode": "{mode}"}}"#);
    for (text, overrides, mode, known) in [
        ("mode = \"enforce\"", None, Mode::Enforce, true),
        ("mode = \"audit\"", Some(set("enforce")), Mode::Enforce, true),
        ("mode = \"enforce\"", Some(set("observe")), Mode::Observe, true),
        ("mode = \"enforce\"", Some(String::new()), Mode::Enforce, false),
        ("mode = \"audit\"", Some(new("enforce")), Mode::Enforce, false),
        ("mode = \"audit\"", Some(new("audit")), Mode::Audit, false),
        // The missing part may enforce.
        ("mode = \"audit\"", Some(set("audit")[..40].to_owned()), Mode::Enforce, false),
        ("backend = \"none\"\nmode = \"audit\"", Some(set("enforce")), Mode::Enforce, false),
    ] {
        let (_folder, config) = config(text, overrides.as_deref());
        let status = configured(&config);
        assert_eq!((status.mode, status.verified), (mode, false), "{text}, {overrides:?}");
        assert_eq!(status.reason.is_none(), known, "{text}, {overrides:?}: {:?}", status.reason);
    }
    let (folder, config) = config("mode = \"audit\"", None);
    fs::create_dir(folder.path().join("overrides.json")).unwrap();
    let status = configured(&config);
    assert_eq!(status.mode, Mode::Enforce, "a folder");
    assert!(status.reason.unwrap().contains("overrides.json cannot be read: repair it"));
}

/// Row 16 of the second review: the second change ended what the first had begun.
#[test]
fn a_second_change_restarts_the_wait() {
    const RULE: &str = "[[vm]]\nmatch = { name = \"web\" }\nlimit = \"off\"\n";
    let (_folder, waits) = config(&format!("mode = \"enforce\"\n{RULE}"), None);
    let mut policies = Policies::open(&waits).unwrap();
    let records = in_memory(1, 1);
    policies.apply_default(&records);
    let new_vms_wait = || records.enforcement(std::mem::offset_of!(EnforcementRecord, waits)) != 0;
    assert!(new_vms_wait());
    let policy_set = |text: &str| Config::parse(text).unwrap().policy_set(Overrides::default());
    policies.install(policy_set("mode = \"enforce\""), &records, &[]);
    let first = policies.waiting_since.expect("new VMs wait");
    assert!(new_vms_wait(), "a program may have read the old default a moment ago");
    policies.install(policy_set("mode = \"audit\""), &records, &[]);
    assert!(new_vms_wait(), "it still may have");
    assert!(policies.waiting_since.is_some_and(|second| second > first), "the wait restarts");
    policies.finish_change(&records);
    assert!(new_vms_wait());
    policies.waiting_since = Instant::now().checked_sub(PROGRAM_RUN);
    policies.finish_change(&records);
    assert!(!new_vms_wait() && policies.waiting_since.is_none());
}
