//! # The rules' own unit tests, which promtool runs
//!
//! A test with a name that no agent exports would always pass.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Faults, name, promql, read, reference::Reference, rules::Rule};

#[derive(Deserialize)]
struct File {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    input_series: Vec<Series>,
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    promql_expr_test: Vec<ExprTest>,
}

#[derive(Deserialize)]
struct Series {
    series: String,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ExprTest {
    expr: String,
}

pub fn check(
    root: &Path,
    paths: &[PathBuf],
    alerts: &[&Rule],
    reference: &Reference,
    faults: &mut Faults,
) -> Result<()> {
    let mut all = Vec::new();
    for path in paths {
        let parsed = serde_saphyr::from_str::<File>(&read(path)?);
        let tests = parsed.with_context(|| path.display().to_string())?.tests;
        names(&name(root, path), &tests, reference, faults);
        all.extend(tests);
    }
    for alert in alerts.iter().filter_map(|rule| rule.alert.as_deref()) {
        for fault in untested(alert, &all) {
            faults.add("dashboards/rules/tests", fault);
        }
    }
    Ok(())
}

fn names(file: &str, tests: &[Test], reference: &Reference, faults: &mut Faults) {
    for test in tests {
        let series = test.input_series.iter().map(|series| &series.series);
        for text in series.chain(test.promql_expr_test.iter().map(|test| &test.expr)) {
            for missing in reference.missing(&promql::uses(text)) {
                faults.add(file, missing);
            }
        }
    }
}

/// What tests of an alert are missing: that it fires, and that it does not.
fn untested(alert: &str, tests: &[Test]) -> Vec<String> {
    let of_alert = |fires: bool| {
        let mut all = tests.iter().flat_map(|test| &test.alert_rule_test);
        all.any(|test| test.alertname == alert && test.exp_alerts.is_empty() != fires)
    };
    let mut faults = Vec::new();
    if !of_alert(true) {
        faults.push(format!("nothing shows that {alert} fires"));
    }
    if !of_alert(false) {
        faults.push(format!("nothing shows that {alert} does not fire"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "tests:\n- input_series: [{series: 'guestreq_x{vm=\"a\"}', values: 1x9}]\n  \
        alert_rule_test:\n  - {alertname: A, eval_time: 1m, exp_alerts: []}\n  \
        - {alertname: A, eval_time: 9m, exp_alerts: [{exp_labels: {vm: a}}]}\n";

    #[test]
    fn an_alert_is_shown_to_fire_and_not_to() {
        let file: File = serde_saphyr::from_str(TESTS).unwrap();
        assert_eq!(untested("A", &file.tests), [""; 0]);
        assert_eq!(untested("B", &file.tests).len(), 2);
    }

    #[test]
    fn a_series_that_no_agent_exports_is_reported() {
        let file: File = serde_saphyr::from_str(TESTS).unwrap();
        let mut faults = Faults::default();
        let reference = Reference::parse("| `guestreq_x` | gauge |  | X. |\n").unwrap();
        names("t.yml", &file.tests, &reference, &mut faults);
        assert_eq!(faults.0, ["t.yml: guestreq_x has no label vm"]);
    }
}
