use guestreq_common::policy::Allowed;

use super::*;
use crate::{config::Config, policy::Overrides};

fn policy_set(config: &str) -> PolicySet {
    Config::parse(config).unwrap().policy_set(Overrides::default())
}

fn stamp() -> Stamp {
    Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() }
}

fn vm(name: &str, uuid: &str) -> Identity {
    let (name, uuid) = (name.to_owned(), uuid.to_owned());
    Identity { named: !name.is_empty(), name, uuid, ..Identity::default() }
}

fn seen<'a>(label: &'a str, identity: &'a Identity) -> KnownVm<'a> {
    let vm = Candidate { label, identity, pid: 7, exited: false };
    KnownVm { vm, sent: Types(Allowed::DEFAULT), was_over: false }
}

/// Parses a request as the API does.
fn request(text: &str) -> Request {
    serde_json::from_str(text).unwrap()
}

fn refused(result: Result<Plan, Refusal>) -> String {
    match result.unwrap_err() {
        Refusal::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

const LIMIT_WEB: &str = r#"{"target": {"vm": "web"}, "change": {"limit": {"rate": "5/s"}}}"#;

#[test]
fn a_limit_is_set_and_cleared() {
    let web = vm("web", "");
    let vms = [seen("web", &web)];
    let plan =
        policy_set("").plan(&request(LIMIT_WEB), &stamp(), &vms, Service::PUBLISHED).unwrap();
    assert_eq!(plan.old.limit.value, Limit::Off);
    assert_eq!(plan.new.limit.value.to_string(), "5/s, burst 5");
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].contains("the mode is audit"), "{:?}", plan.warnings);
    assert_eq!(plan.policy_set.default().limit.value, Limit::Off, "others keep what they have");

    let clear = request(r#"{"target": {"vm": "web"}, "change": "clear_limit"}"#);
    let cleared = plan.policy_set.plan(&clear, &stamp(), &[], Service::PUBLISHED).unwrap();
    assert_eq!(cleared.new.limit.value, Limit::Off, "also of a VM that is not running");
    assert_eq!(cleared.policy_set, policy_set(""));
}

#[test]
fn a_weight_is_set_alone_or_with_a_limit_and_cleared_with_it() {
    let web = vm("web", "");
    let vms = [seen("web", &web)];
    let plan = |policy_set: &PolicySet, change: &str| {
        let text = format!(r#"{{"target": {{"vm": "web"}}, "change": {change}}}"#);
        policy_set.plan(&request(&text), &stamp(), &vms, Service::PUBLISHED).unwrap()
    };
    let weighted = plan(&policy_set(""), r#"{"weight": 4}"#);
    assert_eq!(weighted.old.limit_and_weight(), "limit off");
    assert_eq!(weighted.new.limit_and_weight(), "limit off, weight 4");
    assert!(weighted.warnings.is_empty(), "it restricts nothing: {:?}", weighted.warnings);
    assert!(weighted.policy_set.default().weight.value.is_default(), "others keep what they have");
    let limited = plan(&weighted.policy_set, r#"{"limit": {"rate": "5/s"}}"#);
    assert_eq!(limited.new.limit_and_weight(), "limit 5/s, burst 5, weight 4", "the weight stays");
    let both = plan(
        &limited.policy_set,
        r#"{"limit_and_weight": {"limit": {"share": "10%"}, "weight": 9}}"#,
    );
    assert_eq!(both.new.limit_and_weight(), "limit 10% of the PSP, weight 9");
    assert!(both.warnings[0].contains("the mode is audit"), "{:?}", both.warnings);
    let cleared = plan(&both.policy_set, r#""clear_limit""#);
    assert_eq!(cleared.new.limit_and_weight(), "limit off");
    assert_eq!(cleared.policy_set, policy_set(""), "nothing is left");
}

#[test]
fn a_limit_that_is_too_low_needs_force_also_beside_a_weight() {
    let text = r#"{"target": "default", "change": {"limit_and_weight":
                   {"limit": {"rate": "1/h"}, "weight": 9}}}"#;
    let plan = |request: &Request| policy_set("").plan(request, &stamp(), &[], Service::PUBLISHED);
    let mut request = request(text);
    assert!(refused(plan(&request)).contains("too slow"));
    request.force = true;
    let forced = plan(&request).unwrap();
    assert!(matches!(forced.new.limit.value, Limit::On(throttle) if throttle.force));
}

#[test]
fn an_unknown_vm_s_error_names_the_running_ones() {
    let (web, gone) = (vm("web", ""), vm("gone", ""));
    let mut vms = [seen("web", &web), seen("gone", &gone)];
    vms[1].vm.exited = true;
    let wrong = request(r#"{"target": {"vm": "wbe"}, "change": "clear_limit"}"#);
    assert_eq!(
        policy_set("").plan(&wrong, &stamp(), &vms, Service::PUBLISHED).unwrap_err(),
        Refusal::UnknownVm("no VM \"wbe\": did you mean \"web\"?".to_owned())
    );
    let none = policy_set("").plan(&wrong, &stamp(), &[], Service::PUBLISHED).unwrap_err();
    assert_eq!(none, Refusal::UnknownVm("no VM \"wbe\": no VM is running".to_owned()));
}

#[test]
fn a_vm_is_found_by_its_label_or_uuid_and_known_by_its_name() {
    let (one, two) = (vm("web", "7a"), vm("web", "7b"));
    let vms = [seen("web", &one), seen("web@77", &two)];
    for name in ["web", "web@77", "7b"] {
        let text = LIMIT_WEB.replace("web", name);
        let plan =
            policy_set("").plan(&request(&text), &stamp(), &vms, Service::PUBLISHED).unwrap();
        assert_eq!(plan.policy_set.overrides.vms.keys().collect::<Vec<_>>(), ["web"]);
        assert_eq!(plan.target, Target::Vm("web".to_owned()), "by its name, whatever was typed");
        let shared = "applies to all running VMs of this name: \"web\"; \"web@77\"";
        assert!(plan.warnings.iter().any(|why| why == shared), "{:?}", plan.warnings);
    }
    let nameless = vm("", "7c");
    let plan = policy_set("")
        .plan(&request(LIMIT_WEB), &stamp(), &[seen("web", &nameless)], Service::PUBLISHED)
        .unwrap();
    assert!(plan.policy_set.overrides.vms.contains_key("7c"));
    let nobody = vm("", "");
    let why = refused(policy_set("").plan(
        &request(LIMIT_WEB),
        &stamp(),
        &[seen("web", &nobody)],
        Service::PUBLISHED,
    ));
    assert!(why.contains("neither a name nor a UUID"), "{why}");
}

#[test]
fn the_name_of_an_override_is_not_another_vm_s_pid() {
    let (seven, web) = (vm("7", ""), vm("web", ""));
    let by_pid = request(&LIMIT_WEB.replace("web", "7"));
    let keys = |plan: Plan| plan.policy_set.overrides.vms.into_keys().collect::<Vec<_>>();
    let running = [seen("web", &web)];
    assert_eq!(
        keys(policy_set("").plan(&by_pid, &stamp(), &running, Service::PUBLISHED).unwrap()),
        ["web"]
    );
    let set = policy_set("")
        .plan(&by_pid, &stamp(), &[seen("7", &seven)], Service::PUBLISHED)
        .unwrap()
        .policy_set;
    assert_eq!(keys(set.plan(&by_pid, &stamp(), &running, Service::PUBLISHED).unwrap()), ["7"]);
}

#[test]
fn a_limit_that_is_too_low_is_refused_unless_forced() {
    let text = r#"{"target": "default", "change": {"limit": {"rate": "1/m", "burst": 1}}}"#;
    let why = refused(policy_set("").plan(&request(text), &stamp(), &[], Service::PUBLISHED));
    assert!(why.contains("at least 4.8/m, or --force"), "{why}");
    let forced = Request { force: true, ..request(text) };
    let plan = policy_set("").plan(&forced, &stamp(), &[], Service::PUBLISHED).unwrap();
    assert!(
        safety::too_slow(plan.new.limit.value, Service::PUBLISHED).is_none(),
        "it is kept as forced"
    );
}

#[test]
fn enforcing_what_costs_running_vms_a_vmpck_needs_yes() {
    let (web, evil) = (vm("web", ""), vm("evil", ""));
    let export = [MessageType::Export].into_iter().collect();
    let vms = [seen("web", &web), KnownVm { sent: export, ..seen("evil", &evil) }];
    let enforce = request(r#"{"target": "default", "change": {"mode": "enforce"}}"#);
    let why = refused(policy_set("").plan(&enforce, &stamp(), &vms, Service::PUBLISHED));
    assert!(why.contains("\"evil\" has sent export (--yes to proceed)"), "{why}");
    let yes = Request { yes: true, ..enforce };
    let plan = policy_set("").plan(&yes, &stamp(), &vms, Service::PUBLISHED).unwrap();
    assert_eq!(plan.warnings.len(), 1, "it still warns");
    let web_only = request(r#"{"target": {"vm": "web"}, "change": {"mode": "enforce"}}"#);
    assert!(
        policy_set("")
            .plan(&web_only, &stamp(), &vms, Service::PUBLISHED)
            .unwrap()
            .warnings
            .is_empty()
    );
    // The same for a type that is taken from a VM whose policy is enforced already.
    let deny = request(r#"{"target": {"vm": "web"}, "change": {"deny": ["report"]}}"#);
    let why =
        refused(policy_set("mode = \"enforce\"").plan(&deny, &stamp(), &vms, Service::PUBLISHED));
    assert!(why.contains("\"web\" has sent report"), "{why}");
}

#[test]
fn types_are_added_to_and_removed_from_the_current_ones() {
    let allow = request(r#"{"target": "default", "change": {"allow": ["export", "unknown"]}}"#);
    let plan = policy_set("allow = [\"report\", \"tsc_info\"]")
        .plan(&allow, &stamp(), &[], Service::PUBLISHED)
        .unwrap();
    assert_eq!(plan.new.allow.value.to_string(), "report, export, tsc_info, unknown");
    let deny = request(r#"{"target": "default", "change": {"deny": ["tsc_info"]}}"#);
    let plan = plan.policy_set.plan(&deny, &stamp(), &[], Service::PUBLISHED).unwrap();
    assert_eq!(plan.new.allow.value.to_string(), "report, export, unknown");
    assert!(plan.warnings[0].contains("Secure TSC cannot boot"), "{:?}", plan.warnings);
    let clear = request(r#"{"target": "default", "change": "clear_policy"}"#);
    let plan = plan.policy_set.plan(&clear, &stamp(), &[], Service::PUBLISHED).unwrap();
    assert_eq!(plan.new.allow.value.to_string(), "report, tsc_info");
}

#[test]
fn enforce_without_a_backend_is_refused() {
    let enforce = request(r#"{"target": "default", "change": {"mode": "enforce"}}"#);
    let why =
        refused(policy_set("backend = \"none\"").plan(&enforce, &stamp(), &[], Service::PUBLISHED));
    assert!(why.contains("the backend is none, which only counts"), "{why}");
}

#[test]
fn a_request_with_an_unknown_key_is_rejected() {
    let text = r#"{"target": "default", "change": "clear_limit", "forse": true}"#;
    assert!(serde_json::from_str::<Request>(text).is_err());
}

#[test]
fn a_limit_whose_rate_never_applies_is_accepted_with_the_arithmetic() {
    let text = r#"{"target": "default", "change": {"limit": {"rate": "100/s", "share": "1%"}}}"#;
    let plan = policy_set("").plan(&request(text), &stamp(), &[], Service::PUBLISHED).unwrap();
    let why = &plan.warnings[0];
    assert!(why.starts_with("the rate never applies: "), "{why}");
    assert!(why.contains("1% / 7.70 ms = 1.3 per second"), "{why}");
}
