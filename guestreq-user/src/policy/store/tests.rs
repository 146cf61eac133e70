use proptest::prelude::*;

use super::*;
use crate::policy::{Limit, Named, Override, Stamp, Stamped, Throttle, Types};
use guestreq_common::policy::Allowed;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("new"));
    (folder, store)
}

#[test]
fn no_file_is_no_overrides() {
    assert_eq!(store().1.read().unwrap(), Overrides::default());
}

#[test]
fn an_invalid_file_is_an_error_and_kept() {
    let (_folder, store) = store();
    store.write(&Overrides::default()).unwrap();
    for bad in
        ["", "{\"vms\": 7}", "{\"vmz\": {}}", "{\"vms\": {\"web\": {\"limit\": 3}}}", "\u{0}"]
    {
        fs::write(store.path(), bad).unwrap();
        let error = format!("{:#}", store.read().unwrap_err());
        assert!(
            error.contains("overrides.json cannot be read: repair it, or remove it"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
        assert_eq!(fs::read_to_string(store.path()).unwrap(), bad);
    }
}

#[test]
fn a_pipe_in_its_place_is_an_error_and_does_not_block() {
    let (_folder, store) = store();
    store.write(&Overrides::default()).unwrap();
    fs::remove_file(store.path()).unwrap();
    let made = std::process::Command::new("mkfifo").arg(store.path()).status().unwrap();
    assert!(made.success());
    let error = format!("{:#}", store.read().unwrap_err());
    assert!(error.ends_with("it is not a file"), "{error}");
    assert!(store.may_enforce(), "its content is unknown");
}

#[test]
fn an_unreadable_file_may_enforce_unless_it_is_whole_and_does_not() {
    let (_folder, store) = store();
    store.write(&Overrides::default()).unwrap();
    for (text, may) in [
        (r#"{"vms": {"web": {"mode": {"value": "audit", "since": 7, "by": null}}}}"#, false),
        (r#"{"vms": {"web": {"mode": {"value": "enforce", "since": 7}}}}"#, true),
        (r#"{"of a later version": [{"modes": ["audit", "enforce"]}]}"#, true),
        (r#"{"vms": {"enforce": 7}}"#, false),
        (r#"{"vms": {"web": {"mode": {"val"#, true),
        ("", true),
    ] {
        fs::write(store.path(), text).unwrap();
        assert_eq!(store.may_enforce(), may, "{text}");
    }
}

#[test]
fn a_failed_write_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    let error = format!("{:#}", Store::new(&file).write(&Overrides::default()).unwrap_err());
    assert!(error.contains("cannot be written, nothing is changed"), "{error}");
}

fn any_override() -> impl Strategy<Value = Override> {
    (
        proptest::option::of(0..3usize),
        proptest::option::of(0u16..1 << 14),
        proptest::option::of((1u64..100, proptest::option::of(1u64..99), any::<bool>())),
        proptest::option::of(1u8..),
    )
        .prop_map(|(mode, allow, limit, weight)| {
            fn set<T>(value: T) -> Stamped<T> {
                Stamped { value, stamp: Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() } }
            }
            Override {
                mode: mode.map(|mode| set(Named(Mode::ALL[mode]))),
                allow: allow.map(|allow| set(Types(Allowed(allow)))),
                limit: limit.map(|(number, burst, force)| {
                    set(burst.map_or(Limit::Off, |burst| {
                        let rate = format!("{number}/m").parse().unwrap();
                        let rate = Some(crate::policy::RateLimit { rate, burst });
                        Limit::On(Throttle { rate, share: None, force })
                    }))
                }),
                weight: weight.map(|weight| set(weight.to_string().parse().unwrap())),
            }
        })
}

proptest! {
    #[test]
    fn overrides_are_read_as_they_were_written(
        default in any_override(),
        vms in proptest::collection::btree_map(any::<String>(), any_override(), 0..4),
    ) {
        let (_folder, store) = store();
        let overrides = Overrides { default, vms, applied: None };
        store.write(&Overrides::default()).unwrap();
        store.write(&overrides).unwrap();
        prop_assert_eq!(store.read().unwrap(), overrides);
    }
}
