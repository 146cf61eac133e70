//! # The figures, as a table and as JSON

mod goals;
mod growth;
#[cfg(test)]
mod tests;

use anyhow::Result;
use serde_json::{Map, Value};

/// The keys of the JSON, and the counts they are based on.
const KEYS: &[&str] = &[
    "bpf_ns_per_request",
    "bpf_requests",
    "bpf_runs",
    "empty_ns_per_request",
    "empty_requests",
    "empty_runs",
    "bpftrace_ns_per_request",
    "bpftrace_requests",
    "bpftrace_runs",
    "kvm_run_ns",
    "kvm_run_runs",
    "vmgexit_ns",
    "vmgexit_runs",
    "empty_raw_tp_ns",
    "empty_raw_tp_runs",
    "bpftrace_vmgexit_ns",
    "bpftrace_vmgexit_runs",
    "bpf_ns_per_launch_command",
    "bpf_launch_runs",
    "empty_ns_per_launch_command",
    "empty_launch_runs",
    "launch_commands",
    "launch_service_excess_percent",
    "launch_duration_shortfall_percent",
    "launches_compared",
    "launch_commands_compared",
    "scrape_500_vms_ms",
    "scrape_500_vms_p99_ms",
    "scrape_500_hostile_vms_ms",
    "scrapes",
    "scrape_500_vms_bytes",
    "scrape_500_hostile_vms_bytes",
    "rss_500_vms_mib",
    "victim_p99_alone_us",
    "victim_alone_requests",
    "victim_p99_limited_us",
    "victim_limited_requests",
    "victim_p99_unlimited_us",
    "victim_unlimited_requests",
    "admitted",
    "admitted_expected",
    "admitted_vms",
    "admitted_seconds",
    "share_2ms_deviation_percent",
    "share_40ms_deviation_percent",
    "share_mixed_deviation_percent",
    "invented_numbers_gain_percent",
    "vmpcks_lost",
    "vmpcks_longest_wait_s",
    "vmpcks_rescued",
    "vmpcks_vms",
];

#[derive(Default)]
pub struct Figures {
    figures: Map<String, Value>,
    /// Rows of the tables below: a key and an object each.
    rows: Vec<(String, Value)>,
    faults: Vec<String>,
}

impl Figures {
    /// Adds what a part has measured, and why something is missing.
    pub fn part(&mut self, name: &str, measured: Result<(Vec<Value>, Option<String>)>) {
        let (measured, fault) = match measured {
            Ok(measured) => measured,
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        self.faults.extend(fault.map(|fault| format!("{name}: {fault}")));
        for (key, value) in measured.into_iter().filter_map(object).flatten() {
            if value.is_object() {
                self.rows.push((key, value));
            } else {
                self.figures.insert(key, value);
            }
        }
    }

    fn get(&self, key: &str) -> Option<f64> {
        self.figures.get(key)?.as_f64()
    }

    fn missing(&self) -> Vec<&'static str> {
        KEYS.iter().copied().filter(|key| self.get(key).is_none()).collect()
    }

    /// Whether nothing failed and, for a complete run, nothing is missing.
    pub fn is_complete(&self, all: bool) -> bool {
        self.faults.is_empty() && (!all || self.missing().is_empty())
    }

    pub fn print(&self, all: bool) {
        print!("{}", self.text());
        for fault in &self.faults {
            println!("  failed: {fault}");
        }
        let missing = self.missing();
        if all && !missing.is_empty() {
            println!("  failed: no figure for {}", missing.join(", "));
        }
    }

    fn text(&self) -> String {
        [goals::table(self), growth::tables(&self.rows)].concat()
    }

    /// One object with every key; null without a figure.
    pub fn json(&self) -> Value {
        let value = |key: &&str| self.figures.get(*key).cloned().unwrap_or(Value::Null);
        KEYS.iter().map(|key| ((*key).to_owned(), value(key))).collect::<Map<_, _>>().into()
    }
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
