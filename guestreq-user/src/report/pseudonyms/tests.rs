use serde_json::json;

use super::*;

fn of(answer: &Value) -> Pseudonyms {
    let mut names = Names::default();
    names.of_json(answer);
    names.of_host("node-7.example.org");
    names.finish()
}

fn vms(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"vm": name, "name": name, "uuid": "", "vmm": "qemu"})).collect()
}

fn shown(names: &[&str]) -> Vec<String> {
    let mut answer = vms(names);
    of(&answer).json(&mut answer);
    let all = answer.as_array().unwrap();
    all.iter().map(|vm| vm["vm"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pseudonyms_are_numbered_by_sorted_names() {
    assert_eq!(shown(&["web", "db", "web"]), ["vm2", "vm1", "vm2"]);
    assert_eq!(shown(&["db", "web"]), shown(&["web", "db"]).into_iter().rev().collect::<Vec<_>>());
    // Those of names that look like pseudonyms, too.
    assert_eq!(shown(&["vm2", "vm1", "a"]), ["vm3", "vm2", "vm1"]);
    let names = of(&vms(&["vm2", "vm1", "a"]));
    assert_eq!(names.text("VM \"vm2\" and VM \"a\" of vm1"), "VM \"vm3\" and VM \"vm1\" of vm2");
    let mut nil = json!([{"vm": "a", "name": "a", "uuid": "00000000-0000-0000-0000-000000000009"},
                         {"vm": "b", "name": "b", "uuid": "7A"}]);
    of(&nil).json(&mut nil);
    assert_eq!(nil[0]["uuid"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(nil[1]["uuid"], "00000000-0000-0000-0000-000000000002");
}

/// A log has VMs that the agent has forgotten, and without an agent all are.
#[test]
fn what_only_a_log_names_is_replaced_and_what_cannot_be_known_is_left_out() {
    let log = "new_vm: VM \"acme-db\", qemu, pid 7\nuid 0 changed the policy of VM \"acme-web\": x\n\
               \"team/a\": mode audit -> mode enforce; the override for \"b c\"; acme-db.sock\n";
    let mut names = Names::default();
    names.of_text(log);
    let names = names.finish();
    assert_eq!(
        names.text(log),
        "new_vm: VM \"vm2\", qemu, pid 7\nuid 0 changed the policy of VM \"vm3\": x\n\
         \"ns1/vm1\": mode audit -> mode enforce; the override for \"vm4\"; vm2.sock\n"
    );
    // Unlike the log, errors are not read for names.
    assert_eq!(names.text("no VM \"other\" is known"), "no VM \"?\" is known");
    assert_eq!(names.text("1 | name = \"oth\nerr"), "1 | name = \"?\nerr");
    assert_eq!(names.text("backend = \"gate\""), "backend = \"gate\"");
}

/// A pattern has parts of names, also where a message tells it.
#[test]
fn patterns_in_texts_are_replaced_as_in_the_policy() {
    let text = "the rule for name = \"acme*\", vmm = \"qemu\" says enforce; pod_uid = \"7a*\"; \
                its name is \"x1\"";
    let mut names = Names::default();
    names.of_text(text);
    let expected = "the rule for name = \"part2*\", vmm = \"qemu\" says enforce; \
                    pod_uid = \"part1*\"; its name is \"vm1\"";
    assert_eq!(names.finish().text(text), expected);
    // Those that were not learned.
    assert_eq!(Names::default().finish().text("name = \"acme*\""), "name = \"*\"");
    assert_eq!(Names::default().finish().text("uuid = \"7a\""), "uuid = \"?\"");
}

#[test]
fn a_long_name_that_a_message_cuts_is_replaced() {
    let long = "x".repeat(90);
    let names = of(&vms(&[&long]));
    let quoted = crate::text::quoted(&long);
    assert_eq!(names.text(&format!("VM {quoted}: so")), "VM \"vm1\"\u{2026} (90 characters): so");
    assert_eq!(Names::default().finish().text(&quoted), "\"?\"\u{2026} (90 characters)");
}

#[test]
fn vms_without_a_name_keep_their_process_everywhere() {
    let mut answer = json!([
        {"vm": "kvm-9", "name": "kvm", "uuid": "", "vmm": "kvm"},
        {"holder": {"vm": "kvm-9"}, "waiters": [{"behind": "kvm-9"}]},
    ]);
    let names = of(&answer);
    names.json(&mut answer);
    assert_eq!(answer[1]["holder"]["vm"], "kvm-9");
    assert_eq!(answer[1]["waiters"][0]["behind"], "kvm-9");
    assert_eq!(names.text("new_vm: VM \"kvm-9\""), "new_vm: VM \"kvm-9\"");
}

#[test]
fn the_host_s_name_is_replaced_with_its_domain_and_without() {
    let names = of(&json!([]));
    let text = "node-7: node-7.example.org:9940, node-77 and the kernel";
    assert_eq!(names.text(text), "host: host:9940, node-77 and the kernel");
    let mut localhost = Names::default();
    localhost.of_host("localhost");
    assert_eq!(localhost.finish().text("localhost:9940"), "localhost:9940");
}

#[test]
fn programs_keep_their_names_but_not_those_of_their_vms() {
    let mut answer = json!([
        {"vm": "web-server-2", "name": "web-server-2", "uuid": "", "vmm": "web-server-2"},
        {"vm": "crosvm-9", "name": "crosvm", "uuid": "", "vmm": "crosvm"},
        {"vm": "qemu-system-x86-7", "name": "qemu-system-x86", "uuid": "", "vmm": "qemu"},
        {"vm": "qemu:web-server-8", "name": "qemu:web-server", "uuid": "", "vmm": "qemu"},
        {"vm": "qemu:other-8", "name": "qemu:other", "uuid": "", "vmm": "qemu"},
    ]);
    let pseudonyms = of(&answer);
    pseudonyms.json(&mut answer);
    let names: Vec<_> = (0..5).map(|at| answer[at]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["vm1", "crosvm", "qemu-system-x86", "qemu:vm1", "qemu:?"]);
    let log = "Lockdown: qemu:web-serv: no\nLockdown: qemu:acme: no";
    assert_eq!(pseudonyms.text(log), "Lockdown: qemu:vm1: no\nLockdown: qemu:?: no");
    let labels: Vec<_> = (0..3).map(|at| answer[at]["vm"].as_str().unwrap()).collect();
    assert_eq!(labels, ["vm1", "crosvm-9", "qemu-system-x86-7"]);
    assert_eq!(answer[0]["vmm"], "vm1", "a process that is called as a VM is");
}

#[test]
fn what_is_kept_of_a_pattern_is_what_it_does() {
    let mut answer = json!({
        "vms": vms(&["web-1"]),
        "rules": [{"match": {"name": "web-1", "namespace": "prod*", "vmm": "qemu"}, "weight": 2},
                  {"match": {"name": "team-a/*-db", "uuid": "7A1B*"}}],
        "origin": {"from": "config", "match": "name = \"team-a/*-db\", uuid = \"7A1B*\""},
        "absent": {"prod/old": {}, "web-1": {}},
    });
    of(&answer).json(&mut answer);
    assert_eq!(
        answer["rules"][0]["match"],
        json!({"name": "vm2", "namespace": "part3*", "vmm": "qemu"})
    );
    let second = &answer["rules"][1]["match"];
    assert_eq!(*second, json!({"name": "part4*part1", "uuid": "part2*"}));
    assert_eq!(answer["origin"]["match"], "name = \"part4*part1\", uuid = \"part2*\"");
    assert_eq!(answer["absent"], json!({"ns1/vm1": {}, "vm2": {}}));
}

#[test]
fn nothing_is_replaced_if_names_are_kept() {
    let names = Pseudonyms::none();
    let mut answer = vms(&["web"]);
    names.json(&mut answer);
    assert_eq!(answer, vms(&["web"]));
    assert_eq!((names.text("VM \"web\""), names.are_used()), ("VM \"web\"".to_owned(), false));
    assert_eq!(names.metrics("a{vm=\"web\"} 1"), "a{vm=\"web\"} 1");
}

/// Even of a thousand VMs.
#[test]
fn a_long_log_is_rewritten_in_a_moment() {
    let names: Vec<String> = (0..1000).map(|i| format!("tenant-{}-web-{i}", i % 7)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pseudonyms = of(&vms(&names));
    let log: String = (0..20_000).map(|i| format!("denied: VM {:?}\n", names[i % 1000])).collect();
    let since = std::time::Instant::now();
    let shown = pseudonyms.text(&log);
    assert!(!shown.contains("tenant") && shown.contains("VM \"vm1000\"\n"));
    assert!(since.elapsed().as_secs() < 20, "{:?}", since.elapsed());
}
