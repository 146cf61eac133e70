use super::*;

const SOURCE: &str = r#"{"type": "prometheus", "uid": "${datasource}"}"#;

/// A valid dashboard of one panel.
fn board() -> String {
    let query = r#"max by (vm) (guestreq_x{instance=\"$instance\", vm=~`${vm:regex}`})"#;
    format!(
        r#"{{"uid": "guestreq-a",
        "links": [{{"url": "/d/guestreq-b"}}],
        "annotations": {{"list": [{{"name": "Alerts", "datasource": {SOURCE}, "expr": "ALERTS"}}]}},
        "templating": {{"list": [{{"name": "datasource", "type": "datasource"}},
            {{"name": "vm", "type": "query", "datasource": {SOURCE},
              "definition": "label_values(guestreq_x, vm)"}}]}},
        "panels": [{{"id": 1, "type": "timeseries", "title": "P", "description": "D.",
            "datasource": {SOURCE},
            "fieldConfig": {{"defaults": {{"unit": "s", "custom": {{"axisLabel": "time"}}}}}},
            "targets": [{{"datasource": {SOURCE}, "expr": "{query}"}}]}}]}}"#
    )
}

/// A line whose legend sums.
const SUMMED: &str = r#""options": {"legend": {"calcs": ["sum"]}},
    "targets": [{"datasource": {"uid": "${datasource}"},
    "expr": "increase(guestreq_x{instance=\"$instance\"}[$__rate_interval])"}, "#;

fn faults(board: &str) -> String {
    let board: Value = serde_json::from_str(board).unwrap();
    let reference = Reference::parse("| `guestreq_x` | gauge | `vm` | X. |\n").unwrap();
    of_board(&board, &BTreeSet::from(["guestreq-a", "guestreq-b"]), &reference).join("; ")
}

#[test]
fn a_valid_dashboard_passes_and_each_fault_is_reported() {
    assert_eq!(faults(&board()), "");
    let broken = [
        (r#"{"uid": "guestreq-a","#, r#"{"uid": "guestreq-a", "id": 7,"#, "has an id"),
        (r#""type": "datasource""#, r#""type": "custom""#, "no variable for the data source"),
        (r#""uid": "${datasource}"}, "expr""#, r#""uid": "P1"}, "expr""#, "fixed data source"),
        (r#""description": "D.","#, "", "no description"),
        (r#""unit": "s", "#, "", "defaults/unit"),
        (r#""axisLabel": "time""#, "", "axisLabel"),
        ("(guestreq_x{", "(guestreq_y{", "no metric guestreq_y"),
        ("max by (vm)", "max by (guest)", "label guest"),
        ("(guestreq_x, vm)", "(guestreq_x, guest)", "label guest"),
        (r#""expr": "ALERTS""#, r#""expr": "ALERT""#, "no metric ALERT"),
        ("=~`${vm:regex}`", r#"=~\"$vm\""#, "not quoted"),
        ("/d/guestreq-b", "/d/guestreq-c", "no dashboard of ours"),
        (r#""targets": ["#, SUMMED, "sums of windows that overlap"),
        (r#"[{"url": "/d/guestreq-b"}]"#, "[]", "no link to guestreq-b"),
    ];
    for (from, to, says) in broken {
        let text = board();
        assert!(text.contains(from), "{from}");
        let faults = faults(&text.replace(from, to));
        assert!(faults.contains(says), "{to}: {faults:?}");
    }
}
