use serde_json::{Value, json};

use super::*;
use crate::wire::{
    events::{EventVm, Work},
    launches::Launch,
};

fn rows(verb: &str, answer: &Value) -> Rows {
    let words: Vec<String> = verb.split(' ').map(str::to_owned).collect();
    View::of(&Verb::of(&words)).unwrap().rows(answer).unwrap()
}

fn overview() -> Value {
    let path = crate::docs::root().join("guestreq-user/tests/top/overview.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn launches() -> Value {
    let vm = EventVm { vm: Some("web".to_owned()), name: None, uuid: None, pid: 7 };
    let (started, work) = ("2026-01-31T12:00:00.5Z".parse().unwrap(), Work::default());
    let (state, inferred) = ("finished".into(), false);
    let launch = Launch { vm, state, started, seconds: 60.0, seconds_ago: 1.0, inferred, work };
    json::to_value(&Launches { launches: vec![launch] }).unwrap()
}

/// As many cells as columns, in each view.
#[test]
fn each_view_has_rows_as_wide_as_its_header() {
    let overview = overview();
    let answers = [
        ("vms", overview["vms"].clone()),
        ("launches", launches()),
        ("psp", overview["psp"].clone()),
        ("policy show", overview["policy"].clone()),
        ("limit show", overview["policy"].clone()),
        ("condition", json!({"conditions": []})),
        ("doctor", json!({"passed": 3, "checks": []})),
    ];
    assert_eq!(answers.len(), VIEWS.len());
    for view in &VIEWS {
        let answer = answers.iter().find(|(verb, _)| *verb == view.verb).unwrap();
        let rows = rows(view.verb, &answer.1).rows;
        assert!(!rows.is_empty(), "{}", view.verb);
        for row in rows {
            assert_eq!(row.len(), view.header.len(), "{}", view.verb);
        }
    }
}

#[test]
fn what_is_not_enforced_stays_visible() {
    let mut policy = overview()["policy"].clone();
    policy["enforcement"]["mode"] = json!("enforce");
    policy["enforcement"]["verified"] = json!(false);
    policy["enforcement"]["reason"] = json!("no \u{1b}gate");
    policy["config"]["failed"] = json!({"at": "2026-01-02T03:04:05Z", "error": "c.toml: bad"});
    let remarks = rows("policy show", &policy).remarks.join("\n");
    assert!(remarks.contains("NOT ENFORCED: no \\u{1b}gate"), "{remarks}");
    assert!(remarks.contains("RELOAD FAILED"), "{remarks}");
}

#[test]
fn a_node_s_conditions_and_findings_are_summarized() {
    let of = |condition: &str, problem: Value, why: &str| json!({"condition": condition, "problem": problem, "why": why});
    let fine = json!({"conditions": [of("ready", json!(false), "observing"),
        of("enforcing", json!(false), "verified, backend gate"), of("psp-dead", json!(false), "no sign of it")]});
    assert_eq!(rows("condition", &fine).rows, [["ok", "ok", "ok", "verified, backend gate"]]);
    let bad = json!({"conditions": [of("ready", json!(true), "no \u{1b}gate"),
        of("enforcing", json!(false), "mode audit"), of("psp-dead", Value::Null, "not observed")]});
    assert_eq!(
        rows("condition", &bad).rows,
        [["PROBLEM", "ok", "unknown", "ready: no \\u{1b}gate; psp-dead: not observed"]]
    );
    let check =
        |state: &str, fix: Value| json!({"title": "PSP", "state": state, "why": "w", "fix": fix});
    let report = json!({"passed": 9, "checks": [check("pass", Value::Null), check("warn", Value::Null),
                                                check("fail", json!("power it off"))]});
    assert_eq!(
        rows("doctor", &report).rows,
        [["FAIL", "PSP", "w -> power it off"], ["warn", "PSP", "w"]]
    );
}

#[test]
fn only_the_wanted_vm_is_kept() {
    let view = View::of(&Verb::of(&["vms".to_owned()])).unwrap();
    let mut answer = overview()["vms"].clone();
    let label = answer["vms"][1]["vm"].as_str().unwrap().to_owned();
    assert!(answer["vms"].as_array().unwrap().len() > 1);
    view.keep_vm(&mut answer, &label);
    assert_eq!(answer["vms"].as_array().unwrap().len(), 1);
    assert_eq!(answer["vms"][0]["vm"], label);
}

#[test]
fn an_answer_of_another_format_is_an_error() {
    for view in &VIEWS {
        for answer in [json!({}), json!([]), json!("x"), Value::Null, json!({"vms": 3})] {
            let error = format!("{:#}", view.rows(&answer).unwrap_err());
            assert!(error.contains("is it of this version?"), "{}: {error}", view.verb);
        }
    }
}
