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

/// Of a figure by itself.
const fn figure(
    what: &'static str,
    figure: &'static str,
    unit: &'static str,
    at_most: f64,
) -> Goal {
    Goal { what, figure, than: None, unit, at_most }
}

/// Of what a change costs.
const fn change(
    what: &'static str,
    now: &'static str,
    before: &'static str,
    unit: &'static str,
) -> Goal {
    Goal { what, figure: now, than: Some(("before", before)), unit, at_most: CHANGE }
}

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
    figure("PSP time vs. firmware's", "launch_service_excess_percent", "%", 1.0),
    figure("launch's duration vs. VMM's", "launch_duration_shortfall_percent", "%", 1.0),
    change("a request, observed", "observed_ns_now", "observed_ns_before", "ns"),
    change("a request, enforced", "enforced_ns_now", "enforced_ns_before", "ns"),
    change("a request under a rate limit", "limited_ns_now", "limited_ns_before", "ns"),
    change("a launch's command", "launch_ns_now", "launch_ns_before", "ns"),
    change(
        "a request, observed",
        "observed_instructions_now",
        "observed_instructions_before",
        "instr",
    ),
    change(
        "a request, enforced",
        "enforced_instructions_now",
        "enforced_instructions_before",
        "instr",
    ),
    change(
        "a request under a rate limit",
        "limited_instructions_now",
        "limited_instructions_before",
        "instr",
    ),
    change("a launch's command", "launch_instructions_now", "launch_instructions_before", "instr"),
    figure("a scrape, 500 VMs", "scrape_500_vms_ms", "ms", 50.0),
    figure("memory, 500 VMs", "rss_500_vms_mib", "MiB", 32.0),
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
    figure("share 10 %, 2 ms services: off by", "share_2ms_deviation_percent", "%", 1.0),
    figure("share 10 %, 40 ms services: off by", "share_40ms_deviation_percent", "%", 1.0),
    figure("share 10 %, mixed services: off by", "share_mixed_deviation_percent", "%", 1.0),
    figure("gain by invented numbers", "invented_numbers_gain_percent", "%", 0.2),
    figure("VMPCKs lost by 500 VMs", "vmpcks_lost", "", 0.0),
    figure("longest wait of a VMPCK", "vmpcks_longest_wait_s", "s", 60.0),
    figure("messages rescued", "vmpcks_rescued", "", f64::INFINITY),
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
