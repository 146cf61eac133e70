//! # Dashboards, rules and runbooks must match the metrics
//!
//! With a renamed metric a panel is empty and an alert never fires, as on a healthy host. So every
//! name and label is looked up in docs/metrics.md, which is generated, and promtool checks the
//! rest.

mod commands;
mod documented;
mod grafana;
pub mod live;
mod names;
mod patterns;
mod promql;
mod promtool;
mod reference;
mod rules;
mod runbooks;
mod unit_tests;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::project;
use reference::Reference;

/// Faults with their files.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, file: &str, fault: impl std::fmt::Display) {
        self.0.push(format!("{file}: {fault}"));
    }
}

pub use promtool::Promtools;

pub fn check(promtools: &Promtools) -> Result<()> {
    let Faults(mut faults) = faults(project::root())?;
    // A missing name is often used more than once.
    faults.sort();
    faults.dedup();
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    promtools.check(project::root())
}

/// All faults that can be found without promtool.
fn faults(root: &Path) -> Result<Faults> {
    let mut faults = Faults::default();
    let mut reference = Reference::parse(&read(&root.join("docs/metrics.md"))?)?;
    let mut alerts = Vec::new();
    let mut files = Vec::new();
    for folder in ["dashboards/rules", "dashboards/rules/native"] {
        for path in files_in(&root.join(folder), "yml")? {
            files.push((name(root, &path), rules::parse(&path)?));
        }
    }
    let all = files.iter().flat_map(|(_, groups)| groups.rules());
    all.filter_map(|rule| rule.record.as_deref()).for_each(|name| reference.record(name));
    for (file, groups) in &files {
        rules::check(file, groups, &reference, &mut faults);
        alerts.extend(groups.rules().filter(|rule| rule.alert.is_some()));
    }
    runbooks::check(root, &alerts, &mut faults)?;
    let mut tests = files_in(&root.join("dashboards/rules/tests"), "yml")?;
    tests.extend(files_in(&root.join("dashboards/rules/native/tests"), "yml")?);
    unit_tests::check(root, &tests, &alerts, &reference, &mut faults)?;
    grafana::check(root, &files_in(&root.join("dashboards"), "json")?, &reference, &mut faults)?;
    Ok(faults)
}

pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The files of a folder with this extension, sorted.
pub fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files.sort();
    Ok(files)
}

/// A file's path within the tree.
pub fn name(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_files_use_only_existing_names() {
        let faults = faults(project::root()).unwrap().0;
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn panels_of_a_host_never_sum_two_hosts() {
        for file in ["node.json", "vm.json"] {
            let board = grafana::parse(&project::root().join("dashboards").join(file)).unwrap();
            for query in grafana::panel_queries(&board) {
                for (metric, labels) in promql::uses(query.expression).selectors {
                    // For pods, whose UIDs are unique, not for hosts.
                    let is_pod_s = metric == "kube_pod_info";
                    assert!(
                        is_pod_s || labels.iter().any(|l| l == "instance"),
                        "{file}: {}: {metric}",
                        query.of
                    );
                }
            }
        }
    }

    #[test]
    fn fleet_panels_need_only_what_reaches_the_centre() {
        let folder = project::root().join("dashboards");
        let leaf = read(&folder.join("fleet/leaf.yml")).unwrap();
        let centre = read(&folder.join("fleet/centre.yml")).unwrap();
        let board = grafana::parse(&folder.join("fleet.json")).unwrap();
        for (panel, query) in grafana::queries(&board) {
            for (metric, _) in promql::uses(&query).selectors {
                let short = metric.trim_start_matches("guestreq_");
                let sent = metric.starts_with("instance") && metric.contains(":guestreq_")
                    || leaf.contains(short) && centre.contains(short);
                assert!(sent, "{panel}: {metric}");
            }
        }
    }
}
