use serde_json::json;

use super::*;

/// What all parts together report.
fn all() -> Figures {
    let mut figures = Figures::default();
    let cost = json!({
        "bpf_ns_per_request": 900.0, "bpf_requests": 8000, "bpf_runs": 40000,
        "empty_ns_per_request": 400.0, "empty_requests": 8000, "empty_runs": 40000,
        "bpftrace_ns_per_request": 2000.0, "bpftrace_requests": 8000, "bpftrace_runs": 40000,
        "kvm_run_ns": 300.0, "kvm_run_runs": 16000,
        "vmgexit_ns": 80.0, "vmgexit_runs": 20000,
        "empty_raw_tp_ns": 40.0, "empty_raw_tp_runs": 20000,
        "bpftrace_vmgexit_ns": 90.0, "bpftrace_vmgexit_runs": 20000,
    });
    let program = json!({"program": {
        "whose": "guestreq", "name": "command_end", "id": 7, "jited_bytes": 4000, "calls": 9,
        "verified_instructions": 3000,
    }});
    figures.part("cost", Ok((vec![cost, program], None)));
    let launches = json!({
        "bpf_ns_per_launch_command": 1200.0, "bpf_launch_runs": 12000,
        "empty_ns_per_launch_command": 400.0, "empty_launch_runs": 12000,
        "launch_commands": 4000, "launch_service_excess_percent": 0.5,
        "launch_duration_shortfall_percent": 0.1, "launches_compared": 8,
        "launch_commands_compared": 300,
    });
    figures.part("launches", Ok((vec![launches], None)));
    let scrape = json!({
        "scrape_500_vms_ms": 20.5, "scrape_500_vms_p99_ms": 30.0, "scrapes": 200,
        "scrape_500_hostile_vms_ms": 40.0, "scrape_500_vms_bytes": 1, "rss_500_vms_mib": 20.0,
        "scrape_500_hostile_vms_bytes": 2,
    });
    figures.part("scrape", Ok((vec![scrape], None)));
    let limits = json!({
        "admitted": 4900, "admitted_expected": 4864, "admitted_vms": 16, "admitted_seconds": 30,
        "victim_p99_alone_us": 20000.0, "victim_alone_requests": 200,
        "victim_p99_limited_us": 30000.0, "victim_limited_requests": 200,
        "victim_p99_unlimited_us": 900000.0, "victim_unlimited_requests": 30,
    });
    figures.part("limits", Ok((vec![limits], None)));
    let shares = json!({
        "share_2ms_deviation_percent": 0.4, "share_40ms_deviation_percent": 0.2,
        "share_mixed_deviation_percent": 1.1, "invented_numbers_gain_percent": 0.1,
    });
    figures.part("shares", Ok((vec![shares], None)));
    let overload = json!({
        "vmpcks_lost": 1, "vmpcks_longest_wait_s": 43.0, "vmpcks_rescued": 2000, "vmpcks_vms": 500,
    });
    figures.part("overload", Ok((vec![overload], None)));
    figures
}

#[test]
fn the_json_is_one_object_with_every_key() {
    let figures = all();
    let json = figures.json();
    let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), KEYS.len());
    assert!(KEYS.iter().all(|key| json[*key].as_f64().is_some_and(|figure| figure > 0.0)));
    assert!(!json.to_string().contains('\n'), "a line");
    assert!(figures.is_complete(true));
}

#[test]
fn a_missing_figure_is_null_and_a_failure() {
    let mut figures = all();
    figures.figures.remove("bpftrace_ns_per_request");
    assert!(figures.json()["bpftrace_ns_per_request"].is_null());
    assert!(!figures.is_complete(true));
    assert!(figures.is_complete(false), "it was not asked for");
    figures.part("cost", Err(anyhow::anyhow!("bpftrace has ended")));
    assert!(!figures.is_complete(false));
    assert_eq!(figures.faults, ["cost: bpftrace has ended"]);
}

#[test]
fn goals_are_compared_with_what_was_measured() {
    let text = all().text();
    let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap();
    assert!(line("empty programs").contains("2.25x"), "{text}");
    assert!(line("empty programs").ends_with("goal 3: reached"), "{text}");
    assert!(line("unrelated VMGEXIT").ends_with("goal 1.5: missed"), "{text}");
    assert!(line("without limit").ends_with("45.00x"), "no goal: {text}");
    assert!(line("command_end").contains("4000"), "{text}");
    assert!(line("mixed services").ends_with("goal 1: missed"), "{text}");
    assert!(line("VMPCKs lost").ends_with("goal 0: missed"), "{text}");
    assert!(line("rescued").ends_with("2000"), "no goal: {text}");
}
