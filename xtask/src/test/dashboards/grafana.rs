//! # Dashboards

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Faults, name, promql, read, reference::Reference};

/// Values for Grafana's variables: numbers and times where required, and a VM name that would break
/// out of any string not in backticks.
const VARIABLES: [(&str, &str); 6] = [
    ("$__rate_interval", "5m"),
    ("$__interval", "5m"),
    ("$__range", "5m"),
    ("$top", "10"),
    ("\"$instance\"", "\"instance\""),
    ("`${vm:regex}`", r##"`\\"'\}\) or #`"##),
];

pub fn check(
    root: &Path,
    paths: &[PathBuf],
    reference: &Reference,
    faults: &mut Faults,
) -> Result<()> {
    let mut all = Vec::new();
    for path in paths {
        all.push((name(root, path), parse(path)?));
    }
    let mut uids = BTreeSet::new();
    for (file, board) in &all {
        let uid = text(board, "/uid");
        if !uid.starts_with("guestreq-") || !uids.insert(uid) {
            faults.add(file, format!("uid {uid:?} is not guestreq-… or not unique"));
        }
    }
    for (file, board) in &all {
        for fault in of_board(board, &uids, reference) {
            faults.add(file, fault);
        }
    }
    Ok(())
}

pub fn parse(path: &Path) -> Result<Value> {
    serde_json::from_str(&read(path)?).with_context(|| path.display().to_string())
}

/// The query of a panel or annotation, with Grafana's variables.
pub struct Query<'a> {
    /// The title of the panel, or the annotation's name.
    pub of: &'a str,
    pub expression: &'a str,
    /// The legend's format; empty without lines.
    pub legend: &'a str,
}

pub fn panel_queries(board: &Value) -> Vec<Query<'_>> {
    let mut queries = Vec::new();
    for panel in list(board, "/panels") {
        let lines = text(panel, "/type") == "timeseries";
        for target in list(panel, "/targets") {
            let legend = if lines { text(target, "/legendFormat") } else { "" };
            let (of, expression) = (text(panel, "/title"), text(target, "/expr"));
            queries.push(Query { of, expression, legend });
        }
    }
    for annotation in list(board, "/annotations/list") {
        if let Some(expression) = annotation.get("expr").and_then(Value::as_str) {
            queries.push(Query { of: text(annotation, "/name"), expression, legend: "" });
        }
    }
    queries
}

/// All queries of a dashboard.
pub fn queries(board: &Value) -> Vec<(String, String)> {
    let of_panels = panel_queries(board).into_iter();
    let mut queries: Vec<_> =
        of_panels.map(|query| (query.of.to_owned(), plain(query.expression))).collect();
    for variable in list(board, "/templating/list") {
        let arguments = text(variable, "/definition").strip_prefix("label_values(");
        let arguments = arguments.and_then(|text| text.strip_suffix(')')?.rsplit_once(", "));
        if let Some((series, label)) = arguments {
            let query = format!("sum by ({label}) ({})", plain(series));
            queries.push((format!("${}", text(variable, "/name")), query));
        }
    }
    queries
}

fn plain(query: &str) -> String {
    VARIABLES.iter().fold(query.to_owned(), |query, (from, to)| query.replace(from, to))
}

fn of_board(board: &Value, uids: &BTreeSet<&str>, reference: &Reference) -> Vec<String> {
    let mut faults = Vec::new();
    if board.get("id").is_some() {
        faults.push("it has an id, which belongs to one Grafana".into());
    }
    let variables = list(board, "/templating/list");
    if !variables.iter().any(|variable| text(variable, "/type") == "datasource") {
        faults.push("no variable for the data source".into());
    }
    data_sources(board, &mut faults);
    for panel in list(board, "/panels") {
        let title = text(panel, "/title");
        faults.extend(of_panel(panel).into_iter().map(|fault| format!("{title:?}: {fault}")));
    }
    for (of, query) in queries(board) {
        if query.contains('$') {
            faults.push(format!("{of:?}: a variable that is not known or not quoted: {query}"));
        }
        let missing = reference.missing(&promql::uses(&query));
        faults.extend(missing.into_iter().map(|missing| format!("{of:?}: {missing}")));
    }
    let text = board.to_string();
    let links = text.split("\"/d/").skip(1);
    for uid in links.filter_map(|rest| rest.split(['"', '?']).next()) {
        if !uids.contains(uid) {
            faults.push(format!("a link to {uid:?}, which is no dashboard of ours"));
        }
    }
    for other in uids.iter().filter(|uid| **uid != self::text(board, "/uid")) {
        if !text.contains(&format!("\"/d/{other}")) {
            faults.push(format!("no link to {other}"));
        }
    }
    faults
}

/// Every data source must be the user's choice.
fn data_sources(value: &Value, faults: &mut Vec<String>) {
    let inside: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => return,
    };
    if let Some(source) = value.get("datasource") {
        let uid = text(source, "/uid");
        if !["${datasource}", "-- Grafana --"].contains(&uid) {
            faults.push(format!("a fixed data source: {source}"));
        }
    }
    inside.into_iter().for_each(|value| data_sources(value, faults));
}

fn of_panel(panel: &Value) -> Vec<String> {
    let kind = text(panel, "/type");
    if kind == "row" {
        return Vec::new();
    }
    let mut needed = vec!["/description", "/datasource/uid", "/fieldConfig/defaults/unit"];
    match kind {
        "timeseries" => needed.push("/fieldConfig/defaults/custom/axisLabel"),
        "heatmap" => needed.extend(["/options/yAxis/unit", "/options/yAxis/axisLabel"]),
        _ => {}
    }
    let mut faults: Vec<_> = needed
        .into_iter()
        .filter(|field| text(panel, field).is_empty())
        .map(|field| format!("no {}", field.trim_start_matches('/')))
        .collect();
    let targets = list(panel, "/targets");
    if targets.is_empty() || targets.iter().any(|target| target.get("datasource").is_none()) {
        faults.push("a query without a data source, or none".into());
    }
    // $__rate_interval is longer than a step: sums in a legend would count samples many times.
    let sums = list(panel, "/options/legend/calcs").iter().any(|calc| calc == "sum");
    if sums && targets.iter().any(|target| text(target, "/expr").contains("$__rate_interval")) {
        faults.push("sums of windows that overlap: $__interval does not".into());
    }
    faults
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
