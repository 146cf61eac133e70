//! A report of a host with VMs of any name.

mod fixture;

use std::collections::BTreeSet;

use fixture::{TestVm, report, text_of};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn vm(name: &str, namespace: &str) -> TestVm {
    TestVm { name: name.to_owned(), namespace: namespace.to_owned(), ..TestVm::default() }
}

fn named(all: &[&str]) -> Vec<TestVm> {
    (1..).zip(all).map(|(pid, name)| TestVm { pid, ..vm(name, "") }).collect()
}

fn json(contents: &Contents, file: &str) -> Value {
    serde_json::from_str(&text_of(contents, file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Words of reports, of escapes, and of pseudonyms.
const HOSTILE: [&str; 22] = [
    "qemu",
    "sum",
    "1",
    "default",
    "name",
    "vm",
    "vm1",
    "host",
    "report",
    "snp_guest_request",
    "\"",
    "}",
    "\\x2d",
    "a\nb",
    "*",
    "kernel",
    "0",
    "00000000-0000-0000-0000-000000000001",
    "ns1/vm2",
    "pid:7",
    "web@7",
    "/",
];

#[test]
fn a_hostile_name_changes_nothing_but_names() {
    let plain = report(&named(&["xq-alpha-7"]), false);
    for name in HOSTILE {
        let contents = report(&named(&[name]), false);
        for file in ["doctor.txt", "doctor.json", "facts.txt", "facts.json", "psp.txt"] {
            assert_eq!(text_of(&contents, file), text_of(&plain, file), "{file} for {name:?}");
        }
        let (shown, vm) = (json(&contents, "vms.json"), &json(&contents, "vms.json")["vms"][0]);
        let label = vm["vm"].as_str().unwrap();
        assert!(label.starts_with("vm") && label != name, "{name:?}: {label}");
        assert_eq!(
            (&vm["name"], &vm["vmm"]),
            (&Value::from(label), &Value::from("qemu")),
            "{shown}"
        );
        for file in ["processes.json", "explained.json"] {
            assert_eq!(json(&contents, file)[0]["vm"], label, "{file} for {name:?}");
        }
        assert_eq!(json(&contents, "policy.json")["vms"][0]["vm"], label);
        let metrics = text_of(&contents, "metrics.txt");
        assert!(
            metrics.contains(&format!("vm_info{{vm=\"{label}\",name=\"{label}\"")),
            "{metrics}"
        );
        let log = text_of(&contents, "agent-log.txt");
        assert!(
            log.contains(&format!("denied: VM \"{label}\", report (type 5)")),
            "{name:?}: {log}"
        );
        let files = |of: &Contents| of.files.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(files(&contents), files(&plain));
    }
}

#[test]
fn a_vm_has_the_same_pseudonym_in_each_file() {
    let vms = [vm("web-shop", "prod"), vm("acme db", ""), vm("web-shop", "")];
    let contents = report(&vms, false);
    let shown = json(&contents, "vms.json");
    let labels: Vec<&str> = (0..3).map(|at| shown["vms"][at]["vm"].as_str().unwrap()).collect();
    assert!(labels[0].starts_with("ns") && labels[0].ends_with(labels[2]), "{labels:?}");
    assert_ne!(labels[1], labels[2]);
    let events = text_of(&contents, "events.txt");
    let limits = text_of(&contents, "limits.txt");
    for label in &labels {
        assert!(events.contains(*label) && limits.contains(*label), "{label}: {events}\n{limits}");
    }
    let domain = labels[0].replace('/', "_");
    let processes = text_of(&contents, "processes.json");
    assert!(processes.contains(&format!("-name guest={domain},debug-threads=on")), "{processes}");
    let scope = format!("machine-qemu\\\\x2d3\\\\x2d{}.scope", labels[1]);
    assert!(processes.contains(&scope), "{scope}\n{processes}");
    let rules = text_of(&contents, "policy.json");
    assert!(rules.contains("\"name\": \"part") && rules.contains("*\""), "{rules}");
}

#[test]
fn names_can_be_kept() {
    let contents = report(&[vm("web-shop", "prod")], true);
    assert_eq!(json(&contents, "vms.json")["vms"][0]["vm"], "prod/web-shop");
    let manifest = text_of(&contents, "MANIFEST.md");
    assert!(manifest.contains("real, as --names was given"), "{manifest}");
}

#[test]
fn the_manifest_lists_each_file_and_what_is_missing() {
    let contents = report(&[vm("web-shop", "")], false);
    let manifest = json(&contents, "MANIFEST.json");
    let listed = manifest["files"].as_array().unwrap().iter();
    let mut listed: BTreeSet<_> = listed.map(|it| it["path"].as_str().unwrap()).collect();
    listed.extend(["MANIFEST.json", "MANIFEST.md"]);
    let files = contents.files.iter().filter(|(_, bytes)| bytes.is_some());
    assert_eq!(files.map(|(path, _)| path.as_str()).collect::<BTreeSet<_>>(), listed);
    assert_eq!(manifest["names"], "pseudonyms");
    assert_eq!(manifest["missing"][0]["what"], "kernel-log.txt");
    let text = text_of(&contents, "MANIFEST.md");
    assert!(text.contains("- kernel-log.txt: needs root\n"), "{text}");
}

/// Of letters that no word of a report has next to each other.
fn distinctive() -> impl Strategy<Value = String> {
    ("[ -~\u{e4}\u{5b57}\n]{0,24}", "[a-z]").prop_map(|(any, last)| format!("xq{any}7zq{last}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_name_and_no_uuid_is_in_any_file(
        names in prop::collection::vec(distinctive(), 1..5),
        namespace in "xn[a-z]{4,8}",
        digits in prop::collection::vec(0_u64..1 << 48, 5),
    ) {
        let uuid = |at: usize| format!("7a1b2c3d-aaaa-4bbb-8ccc-{:012x}", digits[at] | 1 << 47);
        let vms: Vec<_> = (1..).zip(&names).map(|(pid, name)| TestVm {
            uuid: uuid(pid as usize % 5).to_uppercase(),
            pod_uid: uuid(4),
            ..TestVm { pid, ..vm(name, if pid == 1 { &namespace } else { "" }) }
        }).collect();
        let contents = report(&vms, false);
        let uuids = (0..5).map(uuid);
        let secrets: Vec<String> = names.iter().cloned().chain([namespace]).chain(uuids).collect();
        for file in contents.files.keys().filter(|file| contents.files[*file].is_some()) {
            let text = text_of(&contents, file);
            let lower = text.to_lowercase();
            for secret in &secrets {
                prop_assert!(!text.contains(secret.as_str()), "{} has {:?}: {}", file, secret, text);
                for form in ["-", "_", "", "\\x2d", "\\\\x2d"] {
                    let form = secret.to_lowercase().replace('-', form);
                    prop_assert!(!lower.contains(&form), "{} has {:?}: {}", file, form, text);
                }
            }
            // Nor a part of any, however it is escaped.
            prop_assert!(!lower.contains("7zq") && !lower.contains("93bd9490"), "{}: {}", file, text);
        }
    }
}
