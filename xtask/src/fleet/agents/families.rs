//! # The metrics of a simulated agent: those of a host and of one VM, and how they grow

use std::fmt::Write as _;
use std::mem;

use anyhow::{Context, Result};

/// The VM in it.
const VM: &str = "\"web-0\"";
/// For how many seconds there was load.
const AGE: f64 = 10.5;
/// What sets apart the series of launches, of which the rig had more than a host has.
const LAUNCH: &str = "# TYPE guestreq_launch";
const FEWER_LAUNCHES: f64 = 0.01;
/// Suffixes of counters' names.
const COUNTERS: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];

/// The series of one metric: a host's, or those of one VM.
#[derive(Default)]
pub struct Family {
    /// Help and type: only of a known type a histogram can be converted.
    pub head: String,
    pub is_of_vms: bool,
    pub lines: Vec<Line>,
}

pub struct Line {
    series: String,
    value: f64,
    grows: Grows,
}

/// How a value grows. Counts stay whole numbers: fractions would compress worse.
#[derive(Clone, Copy, PartialEq)]
enum Grows {
    No,
    InTime,
    InCounts,
    /// The value is the bucket's own. If a sum of buckets were rounded, a bucket could shrink, which
    /// is a reset of a native histogram.
    Bucket,
    /// The sum of the buckets before.
    Count,
}

/// What an agent exported.
pub fn parse(exported: &str) -> Result<Vec<Family>> {
    let mut families = Vec::<Family>::new();
    let mut below = 0.0;
    for text in exported.lines() {
        if text.starts_with("# HELP") {
            families.push(Family::default());
        }
        let family = families.last_mut().context("host.prom begins without HELP")?;
        if text.starts_with('#') {
            family.head += &format!("{text}\n");
            continue;
        }
        let (series, text) = text.rsplit_once(' ').context("host.prom: no value")?;
        let mut value = text.parse().with_context(|| format!("host.prom: {series}"))?;
        let name = series.split('{').next().unwrap_or_default();
        let grows = match COUNTERS.iter().find(|end| name.ends_with(**end)) {
            Some(&"_bucket") => Grows::Bucket,
            Some(&"_count") => Grows::Count,
            Some(_) if text.contains('.') => Grows::InTime,
            Some(_) => Grows::InCounts,
            None => Grows::No,
        };
        if grows == Grows::Bucket {
            (value, below) = (value - below, value);
        } else {
            below = 0.0;
        }
        family.is_of_vms = series.contains(VM);
        family.lines.push(Line { series: series.to_owned(), value, grows });
    }
    Ok(families)
}

impl Family {
    /// As after so many seconds of the rig's load.
    pub fn write(&self, text: &mut String, vm: Option<&String>, seconds: f64) {
        let fewer = if self.head.contains(LAUNCH) { FEWER_LAUNCHES } else { 1.0 };
        let mut sum = 0.0;
        for line in &self.lines {
            let grown = line.value * (1.0 + fewer * seconds / AGE);
            let value = match line.grows {
                Grows::No => line.value,
                // Nanoseconds, as agents export.
                Grows::InTime => (grown * 1e9).round() / 1e9,
                Grows::InCounts => grown.floor(),
                Grows::Bucket => {
                    sum += grown.floor();
                    sum
                }
                // It comes last of a histogram.
                Grows::Count => mem::take(&mut sum),
            };
            let series = &line.series;
            let _ = match vm {
                Some(name) => writeln!(text, "{} {value}", series.replace(VM, name)),
                None => writeln!(text, "{series} {value}"),
            };
        }
    }
}
