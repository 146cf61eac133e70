//! # Objects for the Prometheus operator and Grafana's sidecar
//!
//! The rules and dashboards of dashboards/ as Kubernetes objects, and copies of them in the Helm
//! chart, which takes no files from elsewhere. `UPDATE_DOCS=1 cargo test -p xtask` regenerates
//! them.

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::super::dashboards::{files_in, name, read};
use crate::project;

const FOLDER: &str = "deploy/kubernetes/prometheus-operator";
const CHART: &str = "deploy/helm/guestreq/files";

/// The first line of a generated file.
fn made_of(sources: &str) -> String {
    format!("# Generated from {sources}: edit there, then `UPDATE_DOCS=1 cargo test -p xtask`.\n")
}

/// A file's text, indented into another one.
fn indented(text: &str, by: usize) -> String {
    let indent = " ".repeat(by);
    let line = |line: &str| if line.is_empty() { "\n".into() } else { format!("{indent}{line}\n") };
    text.trim_end().lines().map(line).collect()
}

/// Each file of rules as a PrometheusRule.
fn rules() -> String {
    let mut text = made_of("dashboards/rules");
    for path in files_in(&project::root().join("dashboards/rules"), "yml").unwrap() {
        let stem = path.file_stem().unwrap().to_string_lossy();
        text += &format!(
            "---\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  \
             name: guestreq-{stem}\nspec:\n{}",
            indented(&read(&path).unwrap(), 2)
        );
    }
    text
}

/// Each dashboard as a ConfigMap with the label that the sidecar of Grafana's chart looks for.
fn dashboards() -> String {
    let mut text = made_of("dashboards/*.json");
    for path in files_in(&project::root().join("dashboards"), "json").unwrap() {
        let stem = path.file_stem().unwrap().to_string_lossy();
        text += &format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: guestreq-dashboard-{stem}\n  \
             labels:\n    grafana_dashboard: \"1\"\n  annotations:\n    grafana_folder: guestreq\n\
             data:\n  guestreq-{stem}.json: |\n{}",
            indented(&read(&path).unwrap(), 4)
        );
    }
    text
}

fn assert_current(path: &Path, text: &str) {
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, text).unwrap();
    }
    let current = fs::read_to_string(path).unwrap_or_default() == text;
    let file = name(project::root(), path);
    assert!(current, "{file} is not current: UPDATE_DOCS=1 cargo test -p xtask");
}

#[test]
fn rules_and_dashboards_in_deploy_are_those_of_dashboards() {
    for (file, text) in [("rules.yaml", rules()), ("dashboards.yaml", dashboards())] {
        assert_current(&project::root().join(FOLDER).join(file), &text);
    }
}

#[test]
fn the_chart_has_copies_of_rules_dashboards_and_dockerfile() {
    let root = project::root();
    let chart = root.join(CHART);
    let of = |folder: &str, extension| files_in(&root.join(folder), extension).unwrap();
    let sources = [
        (of("dashboards", "json"), chart.join("dashboards")),
        (of("dashboards/rules", "yml"), chart.join("rules")),
        (vec![root.join("deploy/kubernetes/kmm/Dockerfile")], chart.join("kmm")),
    ];
    for (files, folder) in sources {
        let copies: Vec<PathBuf> =
            files.iter().map(|file| folder.join(file.file_name().unwrap())).collect();
        for (file, copy) in files.iter().zip(&copies) {
            assert_current(copy, &read(file).unwrap());
        }
        // Of a dashboard that has gone.
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            assert!(copies.contains(&path), "{}: delete it", name(root, &path));
        }
    }
}
