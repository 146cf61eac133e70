//! # Known metrics and their labels
//!
//! From docs/metrics.md, which is generated from the code, and the series that our rules record.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::promql::Uses;

/// Labels that Prometheus adds to scraped series; the last stands for a site's own.
const TARGET: [&str; 3] = ["instance", "job", "cluster"];

#[derive(Default)]
pub struct Reference(BTreeMap<String, BTreeSet<String>>);

impl Reference {
    pub fn parse(markdown: &str) -> Result<Self> {
        let mut reference = Self::default();
        for line in markdown.lines().filter(|line| line.starts_with("| `guestreq_")) {
            let columns: Vec<_> = line.split('|').map(str::trim).collect();
            let &[_, name, kind, labels, ..] = columns.as_slice() else {
                bail!("docs/metrics.md: not a row of a metric: {line}");
            };
            let words = |text: &str| text.replace(['`', ','], " ");
            let labels: Vec<_> = words(labels).split_whitespace().map(str::to_owned).collect();
            let name = words(name).trim().to_owned();
            if kind == "histogram" {
                let bucket = labels.iter().cloned().chain(["le".to_owned()]);
                reference.add(format!("{name}_bucket"), bucket);
                reference.add(format!("{name}_sum"), labels.iter().cloned());
                reference.add(format!("{name}_count"), labels.iter().cloned());
                // As a Prometheus converts it (docs/histograms.md).
                reference.add(name, labels);
            } else {
                reference.add(name, labels);
            }
        }
        if reference.0.is_empty() {
            bail!("docs/metrics.md: no metric found");
        }
        reference.add("up".into(), []);
        let alerts = ["alertname", "alertstate", "severity", "vm"];
        reference.add("ALERTS".into(), alerts.map(str::to_owned));
        // A metric of kube-state-metrics, and the labels that our queries make of its labels.
        let pod = ["namespace", "pod", "uid", "pod_namespace", "pod_uid"];
        reference.add("kube_pod_info".into(), pod.map(str::to_owned));
        Ok(reference)
    }

    fn add(&mut self, name: String, labels: impl IntoIterator<Item = String>) {
        self.0.insert(name, labels.into_iter().collect());
    }

    /// A recorded series: the part of its name before the first colon lists its labels.
    pub fn record(&mut self, name: &str) {
        let level = name.split(':').next().unwrap_or_default();
        self.add(name.to_owned(), level.split('_').map(str::to_owned));
    }

    /// Names in an expression that do not exist.
    pub fn missing(&self, uses: &Uses) -> Vec<String> {
        let mut missing = Vec::new();
        let mut any = BTreeSet::new();
        let is_target = |label: &String| TARGET.contains(&label.as_str());
        for (metric, labels) in &uses.selectors {
            let Some(known) = self.0.get(metric) else {
                missing.push(format!("there is no metric {metric}"));
                continue;
            };
            any.extend(known);
            for label in labels.iter().filter(|label| !known.contains(*label) && !is_target(label))
            {
                missing.push(format!("{metric} has no label {label}"));
            }
        }
        for label in uses.grouping.iter().filter(|label| !any.contains(label) && !is_target(label))
        {
            missing.push(format!("no metric there has a label {label}"));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::super::promql::uses;
    use super::*;

    const METRICS: &str = "# Metrics\n\n\
        | metric | type | labels | meaning |\n|---|---|---|---|\n\
        | `guestreq_requests_total` | counter | `vm`, `result` | Requests. |\n\
        | `guestreq_duration_seconds` | histogram | `vm` | Time. |\n\
        | `guestreq_queue` | gauge |  | Waiting. |\n";

    fn missing(expression: &str) -> Vec<String> {
        let mut reference = Reference::parse(METRICS).unwrap();
        reference.record("instance_vm:guestreq_requests:rate5m");
        reference.missing(&uses(expression))
    }

    #[test]
    fn existing_names_may_be_used() {
        let fine = [
            r#"sum by (vm) (rate(guestreq_requests_total{instance="a", result!="ok"}[5m]))"#,
            "histogram_quantile(0.5, sum by (vm, le) (rate(guestreq_duration_seconds_bucket[5m])))",
            r#"instance_vm:guestreq_requests:rate5m{vm="a"} and on (job) up{job="guestreq"} == 0"#,
            "guestreq_duration_seconds_sum / guestreq_duration_seconds_count > guestreq_queue",
            "histogram_fraction(-Inf, 0.1, sum by (vm) (rate(guestreq_duration_seconds[5m])))",
        ];
        for expression in fine {
            assert_eq!(missing(expression), [""; 0], "{expression}");
        }
    }

    #[test]
    fn a_renamed_metric_or_label_is_missed_everywhere() {
        let broken = [
            ("rate(guestreq_request_total[5m])", "no metric guestreq_request_total"),
            (r#"guestreq_queue{vm="a"}"#, "guestreq_queue has no label vm"),
            ("sum by (guest) (guestreq_requests_total)", "label guest"),
            ("sum without (le) (guestreq_queue)", "label le"),
            ("up and ignoring (class) guestreq_queue", "label class"),
            ("guestreq_duration", "no metric guestreq_duration"),
            ("sum by (le) (guestreq_duration_seconds)", "label le"),
            (r#"instance_vm:guestreq_requests:rate5m{result="ok"}"#, "no label result"),
        ];
        for (expression, says) in broken {
            let missing = missing(expression).join("; ");
            assert!(missing.contains(says), "{expression}: {missing:?}");
        }
    }

    #[test]
    fn a_reference_without_metrics_is_an_error() {
        assert!(Reference::parse("# Metrics\n").is_err());
    }
}
