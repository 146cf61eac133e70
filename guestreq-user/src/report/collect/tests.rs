//! A report of a host with VMs of any name.

mod fixture;

use std::collections::BTreeSet;

use fixture::{TestVm, assemble, raw, report, text_of};
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
        // The name of the only VM may be what it gets.
        assert!(label == "vm1", "{name:?}: {label}");
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

#[test]
fn a_report_that_is_too_long_has_its_manifest_and_copies() {
    let of = |length: usize| {
        let text = "x".repeat(length);
        let raw = Raw { agent_log: Ok(Bounded { text, is_cut: false }), ..raw(&[vm("web", "")]) };
        assemble(raw, true)
    };
    let rest = of(0).bytes;
    let contents = of((64 << 20) - rest - 9);
    let manifest = json(&contents, "MANIFEST.json");
    assert_eq!(contents.bytes, (64 << 20) - 9);
    assert!(manifest["files"].as_array().unwrap().iter().any(|it| it["path"] == "agent-log.txt"));
    let contents = of((64 << 20) - rest + 1);
    assert!(text_of(&contents, "MANIFEST.md").contains("- agent-log.txt: the report would have"));
    assert!(contents.files.contains_key("host/proc/cmdline"));
}

/// Names of VMs that have exited are in the log only, and without an agent those of all are.
#[test]
fn without_an_agent_no_name_is_left_in_the_log() {
    let mut alone = raw(&[vm("xq-web-7zqa", "")]);
    alone.answers = Err(anyhow!("no agent answers"));
    alone.policy = Err(anyhow!("the rule for name = \"xq-team-7zqb*\" says enforce"));
    alone.agent_log = Ok(Bounded {
        text: "new_vm: VM \"xq-db-7zqc\", qemu\n\"xq-api-7zqd\": mode audit -> mode enforce\n\
               name = \"xq-team-7zqb*\" matches no VM\n"
            .to_owned(),
        is_cut: false,
    });
    let contents = assemble(alone, false);
    assert_eq!(
        text_of(&contents, "agent-log.txt"),
        "new_vm: VM \"vm2\", qemu\n\"vm1\": mode audit -> mode enforce\nname = \"part1*\" matches no VM\n"
    );
    for (file, bytes) in contents.files.iter().filter_map(|(file, it)| Some((file, it.as_ref()?))) {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("7zq"), "{file}: {text}");
    }
    let missing = text_of(&contents, "MANIFEST.md");
    assert!(missing.contains("- policy: the rule for name = \"part1*\" says enforce"), "{missing}");
}

/// Without an agent the policy is what one would use.
#[test]
fn the_configured_policy_is_in_a_report_without_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let of = |backend: &str| {
        let text = format!(
            "state = {state:?}\nmode = \"enforce\"\nbackend = {backend:?}\n[[vm]]\n\
             match = {{ name = \"xq-web*\" }}\nmode = \"audit\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut alone = raw(&[vm("xq-web-1", "")]);
        let config = Config::load(Some(&file));
        alone.answers = Err(anyhow!("no agent answers"));
        alone.policy = policy::configured(&config, &alone.processes, fixture::now());
        assemble(alone, false)
    };
    let contents = of("gate");
    let policy = json(&contents, "policy.json");
    assert_eq!(policy["default"]["mode"]["value"], "enforce", "{policy}");
    assert_eq!(policy["vms"][0]["vm"], "vm1");
    assert_eq!(policy["vms"][0]["mode"]["value"], "audit");
    assert_eq!(policy["rules"][0]["match"]["name"], "part1*");
    assert!(contents.files.contains_key("limits.txt") && !contents.files.contains_key("vms.json"));
    // One that contradicts itself.
    let contents = of("none");
    let manifest = text_of(&contents, "MANIFEST.md");
    let why = manifest.lines().find(|line| line.starts_with("- policy: ")).unwrap();
    assert!(why.contains("enforce") && !contents.files.contains_key("policy.json"), "{why}");
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
