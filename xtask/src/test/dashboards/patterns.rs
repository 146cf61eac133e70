//! # Each alert under every pattern of series
//!
//! Alerts that work on continuous series may fail where a series starts, has a gap, is reset, or is
//! rarely scraped. So promtool tests each alert under each of these patterns: it fires for its
//! fault ([`table`]), soon, not before it and not after it; and nothing fires without a fault. All
//! alerts share a test, each with its own host, so that no host affects another.

mod table;
mod timeline;

use std::fmt::Write as _;

use table::{ROWS, Row};
use timeline::{NEVER, Timeline, Values};

/// What happens to the series of every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// Nothing.
    Steady,
    /// Each series starts with the reported value, or with an old count.
    FirstValue,
    /// The host is unreachable for twelve minutes, during which the fault starts.
    Gap,
    /// Prometheus is down for twelve minutes.
    Away,
    /// Counters are reset to 0 and reach their old values.
    Reset,
    /// The agent is down for two minutes, and its counters are reset.
    Restart,
}

use Pattern::*;

const PATTERNS: [Pattern; 6] = [Steady, FirstValue, Gap, Away, Reset, Restart];
/// Seconds between scrapes: README's and other common ones.
const INTERVALS: [u32; 2] = [30, 60];
/// Seconds, so that rules are rarely evaluated at the moment of a scrape.
const EVALUATED: u32 = 40;
/// Minutes after the beginning.
const FAULT: f64 = 40.0;
/// A host on which nothing ever happens.
const OTHER: &str = "other";

/// A file of unit tests for promtool.
pub fn unit_tests(rules: &str) -> String {
    let mut text = format!("rule_files: [{rules}/recording.yml, {rules}/alerts.yml]\n");
    let _ = writeln!(text, "evaluation_interval: {EVALUATED}s\ntests:");
    for pattern in PATTERNS {
        for interval in INTERVALS {
            for faulty in [false, true] {
                text += &test(pattern, interval, faulty);
            }
        }
    }
    text
}

fn test(pattern: Pattern, interval: u32, faulty: bool) -> String {
    let name = if faulty { "each fault fires" } else { "without a fault nothing fires" };
    let mut text = format!(
        "- name: '{pattern:?}, scraped each {interval} s: {name}'\n  interval: {interval}s\n  \
         input_series:\n  - {{series: 'up{{job=\"guestreq\", instance=\"{OTHER}\"}}', values: 1x150}}\n"
    );
    // promtool names the failing query, not the test: so hosts carry its name.
    let host = |row: &Row| format!("{}: {}; {pattern:?}, {interval} s", row.alert, row.fault);
    for row in ROWS {
        text += &series(row, &host(row), &timeline(pattern, row, faulty), interval);
    }
    text += "  promql_expr_test:\n";
    for row in ROWS {
        text += &expected(row, &host(row), pattern, faulty);
    }
    text
}

fn timeline(pattern: Pattern, row: &Row, faulty: bool) -> Timeline {
    let quiet = Timeline {
        fault: if faulty { FAULT } else { NEVER },
        first: 0.0,
        reset: NEVER,
        gap: (NEVER, NEVER),
        noticed: true,
        began: NEVER,
    };
    match pattern {
        Steady => quiet,
        FirstValue => {
            let began = if row.is_of_a_vm() && faulty { FAULT - 0.3 } else { NEVER };
            // A host's first count may be old: it fires from the second on.
            Timeline { first: if row.was_before() { FAULT - 4.0 } else { FAULT }, began, ..quiet }
        }
        Gap => Timeline { gap: (FAULT - 6.0, FAULT + 6.0), ..quiet },
        Away => Timeline { gap: (FAULT - 6.0, FAULT + 6.0), noticed: false, ..quiet },
        Reset => Timeline { reset: FAULT - 2.0, ..quiet },
        Restart => Timeline { reset: FAULT - 2.0, gap: (FAULT - 4.0, FAULT - 2.0), ..quiet },
    }
}

impl Row {
    fn is_of_a_vm(&self) -> bool {
        self.series.iter().any(|(_, values)| matches!(values, Values::Began))
    }

    /// Whether the host must have been known before the fault.
    fn was_before(&self) -> bool {
        let needs = |values| matches!(values, Values::Step(_, 1..) | Values::Until);
        !self.is_of_a_vm() && self.series.iter().any(|(_, values)| needs(*values))
    }
}

fn series(row: &Row, host: &str, timeline: &Timeline, interval: u32) -> String {
    let every = f64::from(interval) / 60.0;
    let mut text = String::new();
    let mut add = |name: &str, samples: &str| {
        let labels = format!("job=\"guestreq\", instance=\"{host}\", ");
        let name = name.replacen('{', &format!("{{{labels}"), 1).replace(", }", "}");
        let _ = writeln!(text, "  - {{series: '{name}', values: '{}'}}", samples.trim_end());
    };
    // A known agent may have series that do not exist yet.
    let always = Timeline { first: 0.0, fault: NEVER, ..*timeline };
    if !row.series.iter().any(|(name, _)| name.starts_with("up{")) {
        add("up{}", &always.up(Values::Level(1, 0), every));
    }
    add("guestreq_build_info{version=\"0.1.0\"}", &always.samples(Values::Level(1, 1), every));
    for (name, values) in row.series {
        let up = name.starts_with("up{");
        let samples =
            if up { timeline.up(*values, every) } else { timeline.samples(*values, every) };
        add(name, &samples);
    }
    text
}

/// What fires on a row's host at the moments that matter.
fn expected(row: &Row, host: &str, pattern: Pattern, faulty: bool) -> String {
    let fires = format!("ALERTS{{alertstate=\"firing\", instance=\"{host}\"");
    let mut text = String::new();
    let mut add = |query: String, minutes: f64, samples: &str| {
        let seconds = (minutes * 60.0) as u32;
        let _ = writeln!(
            text,
            "  - {{expr: '{query}', eval_time: {seconds}s, exp_samples: [{samples}]}}"
        );
    };
    // Being unreachable for twelve minutes rightly fires.
    let except = if pattern == Gap { ", alertname!=\"GuestreqAgentDown\"" } else { "" };
    let anything = |minutes: f64| format!("count_over_time({fires}{except}}}[{minutes}m])");
    let Some(after) = row.after.filter(|_| faulty) else {
        add(anything(timeline::MINUTES - 1.0), timeline::MINUTES - 1.0, "");
        return text;
    };
    let timeline = timeline(pattern, row, faulty);
    let visible = timeline.visible();
    if timeline.first < visible {
        let before = timeline.gap.0.min(FAULT) - 1.0;
        add(anything(before), before, "");
    }
    let it = format!("group({fires}, alertname=\"{}\"}})", row.alert);
    add(it, visible + f64::from(after), "{value: 1}");
    let others = format!("{fires}, alertname!=\"{}\"{except}}}", row.alert);
    add(others, visible + f64::from(after), "");
    if let Some(over) = row.over {
        add(format!("{fires}}}"), visible + f64::from(over), "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{promql, read, reference::Reference, rules};
    use super::*;
    use crate::project;

    #[test]
    fn each_alert_has_a_fault_and_only_existing_series() {
        let rules = rules::parse(&project::root().join("dashboards/rules/alerts.yml")).unwrap();
        let alerts: Vec<_> = rules.rules().filter_map(|rule| rule.alert.as_deref()).collect();
        let fires = |alert: &str| ROWS.iter().any(|row| row.alert == alert && row.after.is_some());
        let missing: Vec<_> = alerts.iter().filter(|alert| !fires(alert)).collect();
        assert!(missing.is_empty() && !alerts.is_empty(), "{missing:?}");
        let metrics = read(&project::root().join("docs/metrics.md")).unwrap();
        let reference = Reference::parse(&metrics).unwrap();
        for row in ROWS {
            assert!(alerts.contains(&row.alert), "{}", row.alert);
            for (name, _) in row.series {
                assert_eq!(reference.missing(&promql::uses(name)), [""; 0], "{name}");
            }
        }
    }

    #[test]
    fn a_host_is_checked_before_during_and_after_the_fault() {
        let row = ROWS.iter().find(|row| row.alert == "GuestreqEventsLost").unwrap();
        let text = expected(row, "a", Steady, true);
        assert_eq!(text.matches("exp_samples: []").count(), 3, "{text}");
        assert!(text.contains("eval_time: 2520s, exp_samples: [{value: 1}]"), "{text}");
        assert!(expected(row, "a", Steady, false).contains("[69m]"));
    }
}
