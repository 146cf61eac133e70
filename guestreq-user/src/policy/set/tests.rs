use guestreq_common::{
    message::MessageType,
    policy::{Allowed, Mode},
};

use super::*;
use crate::{
    config::Config,
    policy::{Limit, Named, Stamp, Types, safety::Service},
};

fn policy_set(config: &str) -> PolicySet {
    Config::parse(config).unwrap().policy_set(Overrides::default())
}

fn vm(name: &str) -> Identity {
    let vmm = "qemu".to_owned();
    Identity { name: name.to_owned(), named: true, vmm, ..Identity::default() }
}

fn by_root<T>(value: T) -> Option<Stamped<T>> {
    Some(Stamped { value, stamp: stamp() })
}

fn stamp() -> Stamp {
    Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() }
}

const RULES: &str = r#"
    mode = "observe"
    limit = { rate = "5/s", burst = 10 }
    [[vm]]
    match = { name = "web-*" }
    limit = "off"
    [[vm]]
    match = { vmm = "qemu" }
    mode = "enforce"
    limit = { rate = "1/s", burst = 1 }
"#;

#[test]
fn the_built_in_policy_is_audit_with_linux_guests_types_and_no_limit() {
    let effective = policy_set("").default();
    assert_eq!(effective, Effective::built_in());
    assert_eq!(effective.mode.value, Named(Mode::Audit));
    assert_eq!(effective.allow.value, Types(Allowed::DEFAULT));
    assert_eq!(effective.limit.value, Limit::Off);
    assert_eq!(effective.limit.origin, Origin::Default);
}

#[test]
fn the_first_rule_that_matches_and_sets_a_key_wins_for_that_key() {
    let web = policy_set(RULES).resolve(&vm("web-1"));
    assert_eq!(web.limit.value, Limit::Off);
    assert_eq!(web.limit.origin.to_string(), r#"config.toml:4 (name = "web-*")"#);
    assert_eq!(web.mode.value, Named(Mode::Enforce), "rule 1 does not say");
    assert_eq!(web.mode.origin.to_string(), r#"config.toml:7 (vmm = "qemu")"#);
    assert_eq!(web.allow.origin, Origin::Default);
    let db = policy_set(RULES).resolve(&vm("db-1"));
    assert_eq!(db.limit.value.to_string(), "1/s, burst 1");
    let other = policy_set(RULES).resolve(&Identity { vmm: "crosvm".to_owned(), ..vm("x") });
    assert_eq!(other.limit.value.to_string(), "5/s, burst 10");
    assert_eq!(other.limit.origin.to_string(), "config.toml:3");
    assert_eq!(other.mode.value, Named(Mode::Observe));
}

#[test]
fn settings_of_a_vm_precede_the_default_s_and_overrides_precede_files() {
    let mut policy_set = policy_set(RULES);
    policy_set.overrides.edit(None, |set| {
        set.limit = by_root(Limit::Off);
        set.mode = by_root(Named(Mode::Audit));
    });
    assert_eq!(policy_set.default().limit.value, Limit::Off);
    assert_eq!(
        policy_set.default().mode.origin.to_string(),
        "override of the default (uid 0, 2026-01-02T03:04:05Z)"
    );
    assert_eq!(policy_set.resolve(&vm("db-1")).mode.value, Named(Mode::Enforce), "its rule stays");
    policy_set.overrides.edit(Some("db-1"), |set| set.mode = by_root(Named(Mode::Observe)));
    let db = policy_set.resolve(&vm("db-1"));
    assert_eq!(db.mode.value, Named(Mode::Observe));
    assert_eq!(db.mode.origin.to_string(), "override (uid 0, 2026-01-02T03:04:05Z)");
    assert_eq!(db.limit.value.to_string(), "1/s, burst 1", "no override sets it");
}

#[test]
fn new_vms_wait_only_if_rules_name_vms_and_some_policy_enforces() {
    assert!(!policy_set("").waits());
    assert!(!policy_set("mode = \"enforce\"").waits(), "the default is known at once");
    let web = "[[vm]]\nmatch = { name = \"web\" }\nlimit = \"off\"\n";
    assert!(!policy_set(web).waits(), "nothing is refused");
    assert!(policy_set(&format!("mode = \"enforce\"\n{web}")).waits());
    assert!(policy_set(&format!("{web}mode = \"enforce\"")).waits());
    let mut by_override = policy_set("");
    by_override.overrides.edit(Some("web"), |set| set.mode = by_root(Named(Mode::Enforce)));
    assert!(by_override.waits());
    let mut relaxed = policy_set("mode = \"enforce\"");
    relaxed.overrides.edit(None, |set| set.mode = by_root(Named(Mode::Audit)));
    assert!(!relaxed.enforces(), "the default was overridden");
}

#[test]
fn enforce_without_a_backend_is_a_contradiction_in_each_layer() {
    let mut policy_set = policy_set("backend = \"none\"");
    assert_eq!(policy_set.contradiction(), None);
    policy_set.overrides.edit(Some("web"), |set| set.mode = by_root(Named(Mode::Enforce)));
    let (place, why) = policy_set.contradiction().unwrap();
    assert_eq!(place, None);
    assert!(why.starts_with("the override for \"web\" says enforce, but the backend is none"));
    policy_set.backend = Backend::Gate;
    assert_eq!(policy_set.contradiction(), None);
}

#[test]
fn forbidding_tsc_info_is_warned_of_in_each_layer() {
    let policy_set = policy_set(
        "allow = [\"report\"]\n[[vm]]\nmatch = { namespace = \"prod\" }\nallow = [\"key\"]\n",
    );
    let warnings = policy_set.warnings(Service::PUBLISHED);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("config.toml:1: tsc_info is not allowed"));
    assert!(warnings[1].starts_with("config.toml:2: rule for namespace = \"prod\": tsc_info"));
}

/// Row 4 of the second review: the lowest limit had changed since these were set, and no override
/// could be read.
#[test]
fn limits_accepted_by_an_older_version_are_kept_and_warned_of() {
    const STAMP: &str = r#""uid": 0, "at": "2026-01-02T03:04:05Z""#;
    let limit = |rate: &str| format!(r#"{{"rate": "{rate}", "burst": 4}}"#);
    let kept = |rate: &str| {
        let limit = limit(rate);
        format!(
            r#"{{
                "default": {{"limit": {{"value": {limit}, {STAMP}}}}},
                "vms": {{"db": {{"limit": {{"value": {limit}, {STAMP}}}}}}},
                "applied": {{{STAMP}, "policy_file": {{
                    "limit": {{"value": {limit}, "file": "a.toml", "line": 1}},
                    "rules": [{{"match": {{"name": "web"}}, "limit": {limit}, "file": "a.toml", "line": 2}}]
                }}}}
            }}"#
        )
    };
    let policy_set = |rate: &str| {
        let overrides = Overrides::from_bytes(kept(rate).as_bytes()).unwrap();
        Config::default().policy_set(overrides)
    };
    let old = policy_set("4.5/m");
    for name in ["web", "db", "other"] {
        assert_eq!(old.resolve(&vm(name)).limit.value.to_string(), "4.5/m, burst 4", "{name}");
    }
    let warnings = old.warnings(Service::PUBLISHED);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(warnings.iter().all(|why| why.contains("4.5/m is too slow")), "{warnings:?}");
    assert!(
        warnings[1].starts_with("a.toml:2: ") && warnings[3].starts_with("override for \"db\"")
    );
    assert!(policy_set("4.8/m").warnings(Service::PUBLISHED).is_empty());
    // Nobody may set it now, and what is kept does not keep anything else from being set.
    let change = format!(r#"{{"target": "default", "change": {{"limit": {}}}}}"#, limit("4.5/m"));
    let change = serde_json::from_str(&change).unwrap();
    assert!(
        old.plan(&change, &stamp(), &[], Service::PUBLISHED)
            .unwrap_err()
            .to_string()
            .contains("too slow")
    );
    let mode = r#"{"target": "default", "change": {"mode": "observe"}}"#;
    assert!(
        old.plan(&serde_json::from_str(mode).unwrap(), &stamp(), &[], Service::PUBLISHED).is_ok()
    );
    let rule = format!("[[vm]]\nmatch = {{ name = \"web\" }}\nlimit = {}", "{ rate = \"4.5/m\" }");
    assert!(Config::parse(&rule).unwrap_err().to_string().contains("too slow"), "nor write it");
}

#[test]
fn a_policy_reads_in_the_kernel_as_it_was_resolved() {
    let policy = policy_set(RULES).resolve(&vm("db-1")).to_policy(7);
    assert_eq!(policy.rules().generation(), 7);
    assert_eq!(policy.rules().mode(), Mode::Enforce);
    assert!(policy.rules().allows(MessageType::Report as u8));
    assert_eq!(policy.rate().interval_ns(), 1_000_000_000);
}

proptest::proptest! {
    #[test]
    fn resolving_is_deterministic_and_an_override_for_another_vm_changes_nothing(
        name in "(web-|db-)?[0-9]?", other in "[a-z]{1,4}"
    ) {
        let mut policy_set = policy_set(RULES);
        let before = policy_set.resolve(&vm(&name));
        proptest::prop_assert_eq!(&before, &policy_set.resolve(&vm(&name)));
        proptest::prop_assume!(name != other);
        policy_set.overrides.edit(Some(&other), |set| set.limit = by_root(Limit::Off));
        proptest::prop_assert_eq!(before, policy_set.resolve(&vm(&name)));
    }
}

#[test]
fn weights_are_merged_as_the_other_settings() {
    let mut policy_set = policy_set(
        "weight = 2
        [[vm]]
        match = { name = \"web\" }
        weight = 3
        [[vm]]
        match = { name = \"*\" }
        limit = { rate = \"5/s\" }",
    );
    let weights = |policy_set: &PolicySet| {
        let of =
            |policy: Effective| (policy.weight.value.0.get(), policy.weight.origin.to_string());
        [of(policy_set.resolve(&vm("web"))), of(policy_set.resolve(&vm("db")))]
    };
    let of = |weight, origin: &str| (weight, origin.to_owned());
    let web = of(3, "config.toml:2 (name = \"web\")");
    assert_eq!(weights(&policy_set), [web.clone(), of(2, "config.toml:1")]);
    let set = |weight: &str| by_root(weight.parse().unwrap());
    policy_set.overrides.edit(None, |of_all| of_all.weight = set("5"));
    let default = of(5, "override of the default (uid 0, 2026-01-02T03:04:05Z)");
    assert_eq!(weights(&policy_set), [web.clone(), default]);
    policy_set.overrides.edit(Some("db"), |of_db| of_db.weight = set("7"));
    let db = of(7, "override (uid 0, 2026-01-02T03:04:05Z)");
    assert_eq!(weights(&policy_set), [web, db]);
    assert_eq!(policy_set.resolve(&vm("db")).to_policy(3).rules().weight().get(), 7);
    assert!(policy_set.has_weights() && policy_set.warnings(Service::PUBLISHED).is_empty());
}

#[test]
fn every_weight_that_has_no_effect_is_warned_of() {
    let mut policy_set = policy_set(
        "backend = \"vcpu\"
        weight = 1
        [[vm]]
        match = { name = \"web\" }
        weight = 3",
    );
    let by_override = by_root("255".parse().unwrap());
    policy_set.overrides.edit(Some("db"), |of_db| of_db.weight = by_override);
    let warnings = policy_set.warnings(Service::PUBLISHED);
    let beginnings = ["config.toml:3: a weight has", "override for \"db\": a weight has"];
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, beginning) in warnings.iter().zip(beginnings) {
        assert!(warning.starts_with(beginning), "{warning}");
        assert!(warning.contains("no effect with backend vcpu"), "{warning}");
    }
}

#[test]
fn every_limit_of_which_a_part_never_applies_is_warned_of() {
    let mut policy_set = policy_set(
        "limit = { rate = \"1/s\", share = \"50%\" }
        [[vm]]
        match = { name = \"web\" }
        limit = { rate = \"100/s\", share = \"1%\" }",
    );
    let both = serde_json::from_str(r#"{"rate": "2/s", "share": "50%"}"#).unwrap();
    policy_set.overrides.edit(Some("db"), |of_db| of_db.limit = by_root(both));
    let warnings = policy_set.warnings(Service::PUBLISHED);
    let beginnings: Vec<_> =
        warnings.iter().map(|why| why.split(" never applies").next().unwrap()).collect();
    assert_eq!(
        beginnings,
        ["config.toml:1: the share", "config.toml:2: the rate", "override for \"db\": the share"]
    );
}
