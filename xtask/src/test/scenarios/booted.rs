//! # One boot and its results

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::rig::boot::{Boot, Event};
use crate::rig::console::{Console, ScenarioReport, Status};
use crate::test::{dashboards, tally::Tally};
use crate::{progress, project};

pub struct Outcome {
    name: String,
    reports: Vec<ScenarioReport>,
    trouble: Option<String>,
    /// Those to run again alone, which are not among the reports.
    pub again: Vec<String>,
}

impl Outcome {
    /// Whether the guest has run to its end.
    pub fn is_whole(&self) -> bool {
        self.trouble.is_none()
    }

    pub fn count(&self, tally: &mut Tally) {
        tally.boot(&self.name, &self.reports, self.trouble.as_deref());
    }
}

/// Boots one group and prints its results. `beside`: those of its scenarios that other guests may
/// make fail.
pub fn run(
    boot: &Boot,
    group: &str,
    limit: Duration,
    beside: Option<&BTreeSet<String>>,
) -> Outcome {
    let name = format!("{} {group}", boot.kernel.0.abi.trim_end_matches("-amd64"));
    try_run(boot, group, &name, limit, beside).unwrap_or_else(|error| {
        // Other boots' results are not lost for it.
        println!("  {:<9}{name}: {error:#}", "FAILED");
        let trouble = Some(format!("{error:#}"));
        Outcome { name, reports: Vec::new(), trouble, again: Vec::new() }
    })
}

fn try_run(
    boot: &Boot,
    group: &str,
    name: &str,
    limit: Duration,
    beside: Option<&BTreeSet<String>>,
) -> Result<Outcome> {
    let abi = &boot.kernel.0.abi;
    let kernel = abi.trim_end_matches("-amd64");
    let path = project::logs().join(format!("{abi}-{group}.log"));
    let mut log =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let is_distorted = |report: &ScenarioReport| {
        report.status == Status::Failed && beside.is_some_and(|timed| timed.contains(&report.id))
    };
    let (mut console, start) = (Console::default(), Instant::now());
    let mut guest = boot.start()?;
    let watch = dashboards::live::Watch::start(boot)?;
    let ended = loop {
        let line = match guest.next(Some(start + limit)) {
            Ok(Event::Line(line)) => line,
            Ok(Event::PoweredOff) => break (!console.done).then(|| "ended too early".to_owned()),
            Ok(Event::Deadline) => break Some("ran into its time limit".to_owned()),
            Err(error) => break Some(format!("is gone: {error:#}")),
        };
        writeln!(log, "{line}").with_context(|| format!("cannot write {}", path.display()))?;
        for report in console.line(&line) {
            print(kernel, report, is_distorted(report));
        }
        // A Debian host would reboot for ever.
        if console.has_panicked() {
            break Some("has panicked".to_owned());
        }
    };
    for report in watch.map(dashboards::live::Watch::finish).into_iter().flatten() {
        print(kernel, &report, false);
        console.reports.push(report);
    }
    let races = console.races.others();
    if !races.is_empty() {
        progress::note(&format!("{name}: KCSAN reports beside the gate's: {}", races.len()));
        for (title, count) in races {
            writeln!(log, "{count} times: {title}")?;
        }
    }
    let mut trouble: Vec<_> =
        console.trouble().map(|line| format!("kernel: {line}")).into_iter().collect();
    if let Some(ended) = ended {
        let during = console.running().map_or(String::new(), |id| format!(" during {id}"));
        let seconds = start.elapsed().as_secs_f64();
        trouble.push(format!("the guest {ended}{during}, after {seconds:.0} s"));
    }
    if !trouble.is_empty() {
        let text = fs::read_to_string(&path)?;
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].iter().for_each(|line| println!("    {line}"));
    }
    if !trouble.is_empty() || console.reports.iter().any(|r| r.status == Status::Failed) {
        println!("  {:<9}{}", "log", path.display());
    }
    let trouble = (!trouble.is_empty()).then(|| trouble.join("; "));
    let (distorted, reports): (Vec<_>, _) = console.reports.into_iter().partition(is_distorted);
    let again = distorted.into_iter().map(|report| report.id).collect();
    Ok(Outcome { name: name.to_owned(), reports, trouble, again })
}

fn print(kernel: &str, report: &ScenarioReport, again: bool) {
    let ScenarioReport { id, description, detail, .. } = report;
    match report.status {
        Status::Passed => println!("  {:<9}{kernel} {id}: {description} ({detail})", "ok"),
        Status::Skipped => println!("  {:<9}{kernel} {id}: {description} ({detail})", "skipped"),
        Status::Failed if again => {
            println!(
                "  {:<9}{kernel} {id}: {description}\n  {:<9}beside other guests: {detail}",
                "alone", ""
            );
        }
        Status::Failed => {
            println!("  {:<9}{kernel} {id}: {description}\n  {:<9}{detail}", "FAILED", "");
        }
    }
}
