//! # Recording and alerting rules

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Faults, promql, read, reference::Reference};

/// A file of rules.
#[derive(Deserialize)]
pub struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Groups {
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }
}

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

pub fn parse(path: &Path) -> Result<Groups> {
    serde_saphyr::from_str(&read(path)?).with_context(|| path.display().to_string())
}

pub fn check(file: &str, groups: &Groups, reference: &Reference, faults: &mut Faults) {
    for rule in groups.rules() {
        let name = rule.alert.as_ref().or(rule.record.as_ref()).map_or("", String::as_str);
        for missing in reference.missing(&promql::uses(&rule.expr)) {
            faults.add(file, format!("{name}: {missing}"));
        }
        if rule.alert.is_some() {
            for fault in alert(name, rule) {
                faults.add(file, format!("{name}: {fault}"));
            }
        }
    }
}

fn alert(name: &str, rule: &Rule) -> Vec<String> {
    let mut faults = Vec::new();
    let camel = name.strip_prefix("Guestreq").is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_uppercase())
            && rest.chars().all(|c| c.is_ascii_alphanumeric())
    });
    if !camel {
        faults.push("not a name in CamelCase that begins with Guestreq".into());
    }
    let severity = rule.labels.get("severity").map_or("", String::as_str);
    if !SEVERITIES.contains(&severity) {
        faults.push(format!("severity {severity:?} is not one of {}", SEVERITIES.join(", ")));
    }
    for annotation in ["summary", "description"] {
        if rule.annotations.get(annotation).is_none_or(String::is_empty) {
            faults.push(format!("no {annotation}"));
        }
    }
    let ends =
        [("runbook", format!("docs/runbooks/{name}.md")), ("runbook_url", format!("/{name}.md"))];
    for (annotation, end) in ends {
        if !rule.annotations.get(annotation).is_some_and(|value| value.ends_with(&end)) {
            faults.push(format!("{annotation} does not end in {end}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(yaml: &str) -> String {
        let groups = serde_saphyr::from_str::<Groups>(yaml).unwrap();
        let mut reference = Reference::parse("| `guestreq_x` | gauge | `vm` | X. |\n").unwrap();
        let recorded = groups.rules().filter_map(|rule| rule.record.as_deref());
        recorded.for_each(|name| reference.record(name));
        let mut faults = Faults::default();
        check("f.yml", &groups, &reference, &mut faults);
        faults.0.join("; ")
    }

    const GOOD: &str = "groups:\n- name: a\n  rules:\n  \
        - {record: 'instance:guestreq_x:max', expr: max without (vm) (guestreq_x)}\n  \
        - alert: GuestreqX\n    expr: instance:guestreq_x:max > 1\n    \
        labels: {severity: info}\n    annotations:\n      {summary: S, description: D, \
        runbook: docs/runbooks/GuestreqX.md, runbook_url: 'x/GuestreqX.md'}\n";

    #[test]
    fn a_valid_rule_passes_and_each_fault_is_reported() {
        assert_eq!(faults(GOOD), "");
        let broken = [
            ("(guestreq_x)", "(guestreq_y)", "no metric guestreq_y"),
            ("without (vm)", "without (guest)", "label guest"),
            ("alert: GuestreqX", "alert: guestreq_x", "CamelCase"),
            ("severity: info", "severity: page", r#""page" is not one of"#),
            ("summary: S, ", "", "no summary"),
            ("runbooks/GuestreqX.md,", "runbooks/Other.md,", "runbook does not end in"),
        ];
        for (from, to, says) in broken {
            let faults = faults(&GOOD.replace(from, to));
            assert!(faults.contains(says), "{to}: {faults:?}");
        }
    }
}
