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
fn pseudonyms_are_numbered_and_no_name_is_like_one() {
    assert_eq!(shown(&["web", "db", "web"]), ["vm1", "vm2", "vm1"]);
    assert_eq!(shown(&["vm2", "web"]), ["vmx1", "vmx2"]);
    assert_eq!(shown(&["a-VM10-vmx3", "vm"]), ["vmxx1", "vmxx2"]);
    let mut nil = json!([{"vm": "a", "name": "a", "uuid": "00000000-0000-0000-0000-000000000009"},
                         {"vm": "host", "name": "host", "uuid": "7A"}]);
    let names = of(&nil);
    names.json(&mut nil);
    assert_eq!(nil[0]["uuid"], "11111111-1111-1111-1111-000000000001");
    assert_eq!(nil[1]["uuid"], "11111111-1111-1111-1111-000000000002");
    assert_eq!(names.text("on node-7"), "on hostx");
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
    of(&answer).json(&mut answer);
    let names: Vec<_> = (0..5).map(|at| answer[at]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["vm1", "crosvm", "qemu-system-x86", "qemu:vm1", "qemu:?"]);
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
        json!({"name": "vm1", "namespace": "part4*", "vmm": "qemu"})
    );
    let second = &answer["rules"][1]["match"];
    assert_eq!(*second, json!({"name": "part1*part2", "uuid": "part3*"}));
    assert_eq!(answer["origin"]["match"], "name = \"part1*part2\", uuid = \"part3*\"");
    assert_eq!(answer["absent"], json!({"ns1/vm2": {}, "vm1": {}}));
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
