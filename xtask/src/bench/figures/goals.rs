//! # Goals

use super::Figures;

/// A figure or the ratio of two, with a maximum.
struct Goal {
    what: &'static str,
    figure: &'static str,
    /// What it is divided by, if anything.
    than: Option<(&'static str, &'static str)>,
    unit: &'static str,
    at_most: f64,
}

/// What a change may cost, by the medians of alternating measurements.
const CHANGE: f64 = 1.05;

const GOALS: &[Goal] = &[
    Goal {
        what: "a request, all programs",
        figure: "bpf_ns_per_request",
        than: Some(("empty programs", "empty_ns_per_request")),
        unit: "ns",
        at_most: 3.0,
    },
    Goal {
        what: "a request, all programs",
        figure: "bpf_ns_per_request",
        than: Some(("a bpftrace script", "bpftrace_ns_per_request")),
        unit: "ns",
        at_most: 0.5,
    },
    Goal {
        what: "an unrelated VMGEXIT",
        figure: "vmgexit_ns",
        than: Some(("an empty program", "empty_raw_tp_ns")),
        unit: "ns",
        at_most: 1.5,
    },
    Goal {
        what: "a launch's command",
        figure: "bpf_ns_per_launch_command",
        than: Some(("empty programs", "empty_ns_per_launch_command")),
        unit: "ns",
        at_most: f64::INFINITY,
    },
    Goal {
        what: "PSP time vs. firmware's",
        figure: "launch_service_excess_percent",
        than: None,
        unit: "%",
        at_most: 1.0,
    },
    Goal {
        what: "launch's duration vs. VMM's",
        figure: "launch_duration_shortfall_percent",
        than: None,
        unit: "%",
        at_most: 1.0,
    },
    Goal {
        what: "a request, observed",
        figure: "observed_ns_now",
        than: Some(("before", "observed_ns_before")),
        unit: "ns",
        at_most: CHANGE,
    },
    Goal {
        what: "a request, enforced",
        figure: "enforced_ns_now",
        than: Some(("before", "enforced_ns_before")),
        unit: "ns",
        at_most: CHANGE,
    },
    Goal {
        what: "a request under a rate limit",
        figure: "limited_ns_now",
        than: Some(("before", "limited_ns_before")),
        unit: "ns",
        at_most: CHANGE,
    },
    Goal {
        what: "a launch's command",
        figure: "launch_ns_now",
        than: Some(("before", "launch_ns_before")),
        unit: "ns",
        at_most: CHANGE,
    },
    Goal {
        what: "a request, observed",
        figure: "observed_instructions_now",
        than: Some(("before", "observed_instructions_before")),
        unit: "instr",
        at_most: CHANGE,
    },
    Goal {
        what: "a request, enforced",
        figure: "enforced_instructions_now",
        than: Some(("before", "enforced_instructions_before")),
        unit: "instr",
        at_most: CHANGE,
    },
    Goal {
        what: "a request under a rate limit",
        figure: "limited_instructions_now",
        than: Some(("before", "limited_instructions_before")),
        unit: "instr",
        at_most: CHANGE,
    },
    Goal {
        what: "a launch's command",
        figure: "launch_instructions_now",
        than: Some(("before", "launch_instructions_before")),
        unit: "instr",
        at_most: CHANGE,
    },
    Goal {
        what: "a scrape, 500 VMs",
        figure: "scrape_500_vms_ms",
        than: None,
        unit: "ms",
        at_most: 50.0,
    },
    Goal {
        what: "memory, 500 VMs",
        figure: "rss_500_vms_mib",
        than: None,
        unit: "MiB",
        at_most: 32.0,
    },
    Goal {
        what: "p99 with limited VMs",
        figure: "victim_p99_limited_us",
        than: Some(("alone", "victim_p99_alone_us")),
        unit: "µs",
        at_most: 3.0,
    },
    Goal {
        what: "p99 with VMs without limit",
        figure: "victim_p99_unlimited_us",
        than: Some(("alone", "victim_p99_alone_us")),
        unit: "µs",
        at_most: f64::INFINITY,
    },
    Goal {
        what: "admitted requests",
        figure: "admitted",
        than: Some(("by the limit", "admitted_expected")),
        unit: "",
        at_most: 1.01,
    },
    Goal {
        what: "share 10 %, 2 ms services: off by",
        figure: "share_2ms_deviation_percent",
        than: None,
        unit: "%",
        at_most: 1.0,
    },
    Goal {
        what: "share 10 %, 40 ms services: off by",
        figure: "share_40ms_deviation_percent",
        than: None,
        unit: "%",
        at_most: 1.0,
    },
    Goal {
        what: "share 10 %, mixed services: off by",
        figure: "share_mixed_deviation_percent",
        than: None,
        unit: "%",
        at_most: 1.0,
    },
    Goal {
        what: "gain by invented numbers",
        figure: "invented_numbers_gain_percent",
        than: None,
        unit: "%",
        at_most: 0.2,
    },
    Goal {
        what: "VMPCKs lost by 500 VMs",
        figure: "vmpcks_lost",
        than: None,
        unit: "",
        at_most: 0.0,
    },
    Goal {
        what: "longest wait of a VMPCK",
        figure: "vmpcks_longest_wait_s",
        than: None,
        unit: "s",
        at_most: 60.0,
    },
    Goal {
        what: "messages rescued",
        figure: "vmpcks_rescued",
        than: None,
        unit: "",
        at_most: f64::INFINITY,
    },
];

pub fn table(figures: &Figures) -> String {
    let mut text = String::from("\n");
    for goal in GOALS {
        let Some(value) = figures.get(goal.figure) else { continue };
        let (compared, reached) = match goal.than {
            Some((name, key)) => {
                let Some(than) = figures.get(key) else { continue };
                let ratio = value / than;
                (format!("{name} {}: {ratio:.2}x", number(than)), ratio)
            }
            None => (String::new(), value),
        };
        let result = match goal.at_most {
            most if most.is_infinite() => String::new(),
            most if reached <= most => format!("goal {most}: reached"),
            most => format!("goal {most}: missed"),
        };
        let value = format!("{} {}", number(value), goal.unit);
        let line = format!("  {:<29}{value:>13}  {compared:<32}{result}", goal.what);
        text += &format!("{}\n", line.trim_end());
    }
    text
}

fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}
