//! # The configuration for Node Problem Detector
//!
//! As its custom plugin monitor reads it: docs/custom_plugin_monitor.md and
//! pkg/custompluginmonitor/types/config.go in its repository.

use std::{collections::BTreeSet, fs, time::Duration};

use clap::Parser as _;
use serde::Deserialize;

use crate::{cli::Cli, docs::root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    plugin: String,
    #[serde(rename = "pluginConfig")]
    global: Global,
    source: String,
    #[serde(rename = "metricsReporting")]
    metrics: bool,
    conditions: Vec<Condition>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Global {
    invoke_interval: String,
    timeout: String,
    max_output_length: usize,
    concurrency: usize,
    #[serde(rename = "enable_message_change_based_condition_update")]
    updates_with_messages: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
    condition: String,
    reason: String,
    path: String,
    args: Vec<String>,
    timeout: String,
}

const FOLDER: &str = "deploy/kubernetes/node-problem-detector";

#[test]
fn the_monitor_s_configuration_is_valid_and_runs_our_verb() {
    let read = |name: &str| fs::read_to_string(root().join(FOLDER).join(name)).unwrap();
    let config: Config = serde_json::from_str(&read("guestreq.json")).unwrap();
    assert_eq!((config.plugin.as_str(), config.source.as_str()), ("custom", "guestreq"));
    assert!(config.metrics);
    let time = |text: &str| humantime::parse_duration(text).unwrap();
    let timeout = time(&config.global.timeout);
    // The verb gives up first, and says why.
    assert!(timeout > Duration::from_secs(10) && timeout < time(&config.global.invoke_interval));
    assert!(config.global.max_output_length >= super::MAX_LINE);
    assert!(config.global.concurrency >= config.rules.len());
    assert!(!config.global.updates_with_messages, "messages have durations");
    let kinds: BTreeSet<&str> = config.conditions.iter().map(|of| of.kind.as_str()).collect();
    let of_rules: BTreeSet<&str> = config.rules.iter().map(|of| of.condition.as_str()).collect();
    assert_eq!(kinds, of_rules);
    assert_eq!(kinds.len(), super::Subject::ALL.len());
    let mut subjects = BTreeSet::new();
    let daemon_set = read("daemonset.yaml");
    for rule in &config.rules {
        assert_eq!(rule.kind, "permanent");
        assert!(time(&rule.timeout) <= timeout, "refused by its validation");
        // Kubernetes allows CamelCase only.
        assert!(rule.reason.chars().all(char::is_alphanumeric), "{}", rule.reason);
        assert!(
            Cli::try_parse_from(
                ["guestreq"].into_iter().chain(rule.args.iter().map(String::as_str))
            )
            .is_ok()
        );
        assert!(subjects.insert(&rule.args[1]));
        assert!(daemon_set.contains(&format!("args: [condition, --copy-to, {}]", rule.path)));
    }
    for condition in &config.conditions {
        assert!(
            condition.reason.chars().all(char::is_alphanumeric) && condition.message.len() < 80
        );
    }
}

/// A condition has the name of the alert for the same fault.
#[test]
fn conditions_are_named_like_alerts() {
    let alerts = fs::read_to_string(root().join("dashboards/rules/alerts.yml")).unwrap();
    let config = fs::read_to_string(root().join(FOLDER).join("guestreq.json")).unwrap();
    for name in ["GuestreqPspDead", "GuestreqEnforcementNotVerified"] {
        assert!(alerts.contains(&format!("alert: {name}\n")), "{name}");
        assert!(config.contains(&format!("\"type\": \"{name}\"")), "{name}");
    }
}
