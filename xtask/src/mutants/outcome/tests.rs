use super::*;

const FILE: &str = "fn positive(n: i32) -> bool {\n    n > 0\n}\n";

/// As cargo-mutants lists them, with the fields that are read.
fn listing(names: &[(&str, usize, usize)]) -> String {
    let mutant = |&(change, line, column): &(&str, usize, usize)| {
        let start = serde_json::json!({ "line": line, "column": column });
        serde_json::json!({
            "name": format!("a/src/lib.rs:{line}:{column}: {change}"),
            "package": "a",
            "file": "a/src/lib.rs",
            "span": { "start": start, "end": start },
        })
    };
    Value::from_iter(names.iter().map(mutant)).to_string()
}

fn all() -> Vec<Mutant> {
    let json =
        listing(&[("replace > with >= in positive", 2, 7), ("replace > with < in positive", 2, 7)]);
    mutants(&json, |file| {
        assert_eq!(file, "a/src/lib.rs");
        Ok(FILE.to_owned())
    })
    .unwrap()
}

fn row(change: &str, line: &str) -> Row {
    Row { name: format!("a/src/lib.rs: {change}"), line: line.to_owned() }
}

#[test]
fn a_mutant_is_identified_by_its_change_and_not_its_line() {
    let all = all();
    assert_eq!(all[0].row, row("replace > with >= in positive", "n > 0"));
    assert_eq!(all[0].file(), "a/src/lib.rs");
}

#[test]
fn the_unchanged_tree_is_not_a_mutant() {
    let all = all();
    let json = serde_json::json!({ "outcomes": [
        { "scenario": "Baseline", "summary": "Success", "log_path": "log/baseline.log" },
        { "scenario": { "Mutant": { "name": all[0].name } }, "summary": "MissedMutant" },
        { "scenario": { "Mutant": { "name": all[1].name } }, "summary": "CaughtMutant" },
    ]});
    let outcomes = outcomes(&json.to_string(), &all).unwrap();
    assert_eq!(outcomes, [(&all[0], Outcome::Missed), (&all[1], Outcome::Caught)]);
    assert_eq!(
        tally(outcomes.into_iter().map(|(_, outcome)| outcome)),
        "2 mutants: 1 caught, 0 timed out, 1 survive, 0 do not compile"
    );
}

#[test]
fn results_for_changed_code_are_an_error() {
    let json = r#"{ "outcomes": [
        { "scenario": { "Mutant": { "name": "a/src/lib.rs:9:1: replace" } }, "summary": "Timeout" }
    ]}"#;
    let error = outcomes(json, &all()).unwrap_err().to_string();
    assert_eq!(error, "the code has changed meanwhile: a/src/lib.rs:9:1: replace");
}

#[test]
fn a_survivor_is_listed_or_reported() {
    let all = all();
    let outcomes = [(&all[0], Outcome::Missed), (&all[1], Outcome::Timeout)];
    let listed = row("replace > with >= in positive", "n > 0");
    assert_eq!(
        compare(&all, &outcomes, [].into_iter()),
        ["survives: a/src/lib.rs:2:7: replace > with >= in positive"]
    );
    assert_eq!(compare(&all, &outcomes, [&listed].into_iter()), [""; 0]);
    // The reason belongs to another line.
    let lines =
        compare(&all, &outcomes, [&row("replace > with >= in positive", "n > 1")].into_iter());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("docs/testing.md lists what is no mutant: "), "{lines:?}");
}

#[test]
fn a_listed_mutant_must_survive_if_it_was_tested() {
    let all = all();
    let listed = row("replace > with < in positive", "n > 0");
    let lines = compare(&all, &[(&all[1], Outcome::Caught)], [&listed].into_iter());
    assert!(lines[0].starts_with("docs/testing.md lists what a test notices: "), "{lines:?}");
    assert_eq!(compare(&all, &[(&all[0], Outcome::Caught)], [&listed].into_iter()), [""; 0]);
}
