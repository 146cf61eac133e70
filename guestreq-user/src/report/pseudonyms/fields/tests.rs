use std::{collections::BTreeSet, fs};

use serde_json::json;

use super::*;
use crate::docs::root;

fn roles(mut answer: Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    visit(&mut answer, &mut |role, text| {
        if role != Role::Word {
            let role = format!("{role:?}");
            let role = role.split(['(', ' ']).next().unwrap_or_default().to_owned();
            found.push((text.clone(), role));
        }
    });
    found.sort();
    found
}

fn assert_roles(answer: Value, expected: &[(&str, &str)]) {
    let found = roles(answer);
    let found: Vec<_> = found.iter().map(|(text, role)| (text.as_str(), role.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn each_name_of_an_answer_is_found() {
    assert_roles(
        json!({"vms": [{"vm": "prod/web", "name": "web", "uuid": "7a", "vmm": "qemu",
                        "namespace": "prod", "pod_uid": "7b", "results": {"report": {}}}],
               "holder": {"command": "snp_guest_request", "vm": "db"},
               "order": {"waiters": [{"vm": "db", "reason": "slot", "behind": "web@7"}]}}),
        &[
            ("7a", "Uuid"),
            ("7b", "Uuid"),
            ("db", "Label"),
            ("db", "Label"),
            ("prod", "Namespace"),
            ("prod/web", "Label"),
            ("qemu", "Process"),
            ("web", "Name"),
            ("web@7", "Label"),
        ],
    );
    assert_roles(
        json!({"absent": {"old": {"mode": {"value": "audit"}}},
               "rules": [{"match": {"name": "w*", "vmm": "qemu"}, "file": "/etc/x.toml"}],
               "default": {"mode": {"origin": {"from": "config", "match": "name = \"w*\""}}},
               "target": {"vm": "web"}, "reason": "the gate is not loaded"}),
        &[
            ("/etc/x.toml", "Text"),
            ("name = \"w*\"", "Patterns"),
            ("old", "Label"),
            ("qemu", "Process"),
            ("the gate is not loaded", "Text"),
            ("w*", "Glob"),
            ("web", "Label"),
        ],
    );
}

#[test]
fn a_process_name_is_no_vm_s() {
    assert_roles(
        json!([{"vm": "snpload-12", "name": "snpload", "vmm": "snpload", "uuid": ""},
               {"vm": "web-12", "name": "web-12"},
               {"vm": "kvm-9", "identity": {"name": "kvm", "named": false},
                "evidence": [{"field": "pod_uid", "from": "cgroup", "text": "0::/x"},
                             {"field": "vmm", "from": "comm", "text": "kvm"},
                             {"field": "vmm", "from": "exe", "text": "/bin/kvm"}]}]),
        &[
            ("", "Uuid"),
            ("/bin/kvm", "Evidence"),
            ("0::/x", "Cgroup"),
            ("kvm", "Process"),
            ("kvm", "Process"),
            ("kvm-9", "Unnamed"),
            ("snpload", "Process"),
            ("snpload", "Process"),
            ("snpload-12", "Unnamed"),
            ("web-12", "Label"),
            ("web-12", "Name"),
        ],
    );
}

#[test]
fn a_label_has_a_namespace_and_what_makes_it_unique() {
    let parts = |name: &str, namespace: &str, label| {
        let owner = Owner { name: name.to_owned(), named: true, namespace: namespace.to_owned() };
        let (namespace, rest) = owner.parts_of(label);
        (namespace, rest.to_owned())
    };
    let of = |namespace: &str, rest: &str| (namespace.to_owned(), rest.to_owned());
    assert_eq!(parts("web", "", "web"), of("", ""));
    assert_eq!(parts("web", "", "web@12.2"), of("", "@12.2"));
    assert_eq!(parts("a/b", "", "a/b"), of("", ""));
    assert_eq!(parts("web", "prod", "prod/web@7"), of("prod", "@7"));
    assert_eq!(parts("web", "", "prod/web"), of("prod", ""), "of an event");
    assert_eq!(parts("a$", "", "a_@3"), of("", "@3"));
    // The namespace begins as the name does.
    assert_eq!(parts("demo", "", "demo/demo@7"), of("demo", "@7"));
    assert_eq!(parts("web", "", "web-team/web"), of("web-team", ""));
}

/// A key that is none of these is a text's, where only known names are replaced: a new key of names
/// has to get a role.
#[test]
fn each_string_of_the_api_has_a_role() {
    const NAMES: [&str; 9] =
        ["behind", "match", "name", "namespace", "pod_uid", "text", "uuid", "vm", "vmm"];
    const TEXTS: [&str; 10] = [
        "changed",
        "error",
        "file",
        "files",
        "notes",
        "order_error",
        "reason",
        "waiters_error",
        "warnings",
        "why",
    ];
    // Of commands that a report does not contain, or of doctor's, which has no names but in texts.
    const OTHERS: [&str; 13] = [
        "by",
        "condition",
        "docs",
        "errors",
        "fix",
        "group",
        "id",
        "kernel",
        "label",
        "limit_share",
        "messages",
        "recent_stages",
        "title",
    ];
    let docs = fs::read_to_string(root().join("docs/cli.md")).unwrap();
    let (_, json) = docs.split_once("\n## JSON\n").unwrap();
    let mut keys = BTreeSet::new();
    for line in json.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let key = cells.next().unwrap().trim_matches('`');
        let rest: Vec<&str> = cells.collect();
        if rest[0].contains("string") && rest.len() > 2 {
            keys.insert(key.to_owned());
        }
        // Those of variants: `files`: list of strings.
        for part in rest.iter().flat_map(|cell| cell.split("; ")) {
            let Some((before, kind)) = part.split_once("`: ") else { continue };
            let key = before.rsplit('`').next().unwrap();
            if kind.starts_with("string") || kind.starts_with("list of strings") {
                keys.insert(key.to_owned());
            }
        }
    }
    assert!(keys.len() > 30, "{keys:?}");
    let known = [&NAMES[..], &TEXTS[..], &OTHERS[..], WORDS].concat();
    keys.retain(|key| !known.contains(&key.as_str()));
    assert!(keys.is_empty(), "give them a role in fields.rs, and name them here: {keys:?}");
}
