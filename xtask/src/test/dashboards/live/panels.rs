//! # The dashboards' queries, with values for Grafana's variables

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::super::{files_in, grafana, name, names};
use crate::project;
use crate::prometheus::Server;

/// The chosen VM: the label of a name that could break queries and legends (rig/scenarios,
/// `dashboards`).
pub const VM: &str = r#"wéb"{_x}|.*\d'_})#"#;

/// Queries without data in the rig: panel, a metric of the query, and an expression that has data.
pub const SUBSTITUTES: [(&str, &str, &str); 3] = [
    // Nothing bypasses enforcement.
    (
        "Bypassed requests, by node",
        "guestreq_enforcement_bypassed_total",
        "increase(guestreq_enforcement_bypassed_total[40s])",
    ),
    // What it is joined with comes from kube-state-metrics: that it joins is not shown here.
    ("Identity", "kube_pod_info", r#"guestreq_vm_info{pod_uid=""}"#),
    // On the fleet's dashboard only critical alerts; dashboards/rules/tests fire each of them.
    ("Alerts", "ALERTS", r#"ALERTS{alertname=~"Guestreq.+", alertstate="firing"}"#),
];

pub struct PanelQuery {
    /// File and panel.
    pub of: String,
    panel: String,
    pub expression: String,
    legend: String,
}

pub struct Panels {
    pub queries: Vec<PanelQuery>,
}

impl Panels {
    /// With one host and one VM on their dashboards, else with all.
    pub fn read(instance: &str, vm: &str) -> Result<Self> {
        let mut queries = Vec::new();
        for path in files_in(&project::root().join("dashboards"), "json")? {
            let board = grafana::parse(&path)?;
            let file = name(project::root(), &path);
            let one = if file.ends_with("vm.json") { names::as_regex(vm) } else { ".*".into() };
            for query in grafana::panel_queries(&board) {
                let expression = chosen(query.expression, instance, &one);
                ensure!(!expression.contains("${") && !expression.contains("$_"), "{expression}");
                let of = format!("{file}: {}", query.of);
                let (panel, legend) = (query.of.to_owned(), query.legend.to_owned());
                queries.push(PanelQuery { of, panel, expression, legend });
            }
        }
        Ok(Self { queries })
    }

    /// Whether each query has at least one value.
    pub fn have_data(&self, server: &Server) -> Result<()> {
        let mut without = Vec::new();
        for query in &self.queries {
            if !has_number(server, &query.expression)? {
                let substitute = SUBSTITUTES.iter().find(|(panel, metric, _)| {
                    *panel == query.panel && query.expression.contains(metric)
                });
                let shown = substitute.map(|(.., expression)| has_number(server, expression));
                if !shown.transpose()?.unwrap_or(false) {
                    without.push(format!("{}: {}", query.of, query.expression));
                }
            }
        }
        ensure!(without.is_empty(), "no data: {}", without.join("; "));
        Ok(())
    }

    /// Lines of a panel have different names, also those of two hosts, and a VM's name is shown
    /// unchanged.
    pub fn names_are_right(&self, server: &Server) -> Result<()> {
        let mut names = BTreeSet::new();
        for query in self.queries.iter().filter(|query| !query.legend.is_empty()) {
            for sample in server.query(&query.expression)? {
                let name = legend(&query.legend, &sample.labels);
                if !names.insert((query.of.clone(), name.clone())) {
                    bail!("{}: two lines are called {name:?}", query.of);
                }
            }
        }
        let shown =
            |file: &str| names.iter().any(|(of, name)| of.starts_with(file) && name.as_str() == VM);
        ensure!(
            shown("dashboards/node.json") && shown("dashboards/vm.json"),
            "no line is called {VM}"
        );
        let twice = r#"count by (vm) (guestreq_vm_info{vm="greedy"})"#;
        ensure!(server.number(twice)? == 2.0, "not two hosts with a VM called greedy");
        Ok(())
    }
}

fn has_number(server: &Server, expression: &str) -> Result<bool> {
    let samples = server.query(expression).with_context(|| expression.to_owned())?;
    Ok(samples.iter().any(|sample| sample.value.is_finite()))
}

/// Replaces variables like Grafana's Prometheus data source: a single value unchanged, one of
/// several as a regular expression. Windows are ten scrapes long.
fn chosen(expression: &str, instance: &str, vm: &str) -> String {
    let words = [
        ("$__rate_interval", "40s"),
        ("$__interval", "40s"),
        ("$__range", "1m"),
        ("$top", "10"),
        ("=~\"$instance\"", "=~\".*\""),
        ("$instance", instance),
        ("${vm:regex}", vm),
    ];
    words.iter().fold(expression.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Formats a legend like Grafana.
fn legend(format: &str, labels: &Value) -> String {
    let mut parts = format.split("{{");
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (label, rest) = part.split_once("}}").unwrap_or((part, ""));
        name += labels[label.trim()].as_str().unwrap_or_default();
        name += rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_by_grafana() {
        let query = r#"rate(a{instance="$instance", vm=~`${vm:regex}`}[$__rate_interval])"#;
        let expected = r#"rate(a{instance="h:1", vm=~`a\.b"\/`}[40s])"#;
        assert_eq!(chosen(query, "h:1", &names::as_regex("a.b\"/")), expected);
        assert_eq!(chosen(r#"b{instance=~"$instance"}"#, "h:1", ".*"), r#"b{instance=~".*"}"#);
    }

    #[test]
    fn a_legend_shows_a_name_unchanged() {
        let labels = serde_json::json!({ "vm": VM, "class": "request" });
        assert_eq!(legend("{{vm}} {{class}} p50", &labels), format!("{VM} request p50"));
        assert_eq!(legend("all", &labels), "all");
    }
}
