//! # Booting each kernel once per group

mod durations;
mod groups;
mod hosts;

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use groups::{is_due, parse, select};
use hosts::Hosts;

use super::tally::Tally;
use super::{Args, dashboards};
use crate::rig::boot::{Boot, Event};
use crate::rig::console::{Console, ScenarioReport, Status};
use crate::setup::{Recipe, Rig};
use crate::{process, progress, project};

pub fn run(args: &Args, rig: &Rig, tally: &mut Tally) -> Result<()> {
    let list = process::output(Command::new(project::static_binary("scenarios")).arg("--list"))?;
    let mut groups = parse(&list)?;
    if let Some(only) = &args.only {
        select(&mut groups, only)?;
    }
    let long = args.long || args.only.is_some() && groups.values().any(|group| group.long);
    let limit = Duration::from_secs(if long { 7200 } else { 1800 })
        + Duration::from_secs(120 * u64::from(args.minutes.unwrap_or(0)));
    let (mut boots, hosts) = (Vec::new(), Hosts::prepare(args, rig, &groups)?);
    // Scenarios that do not depend on the kernel run on the newest only, except with --long.
    let newest = rig.kernels.len().saturating_sub(1);
    for (i, kernel) in rig.kernels.iter().enumerate() {
        for (name, group) in &groups {
            let recipe = kernel.0.recipe();
            let Some(host) = hosts.get(rig, &kernel.0, group.needs) else { continue };
            let runs_it = |recipe: &Recipe| recipe.groups.contains(&name.as_str());
            if !is_due(args, kernel.0.is_realtime(), name, group)
                || args.only.is_none() && !recipe.is_none_or(runs_it)
            {
                continue;
            }
            let mut cmdline = format!("rig.run={name} {}", group.cmdline);
            if let Some(recipe) = recipe {
                cmdline += if recipe.is_debug { " rig.debug " } else { " " };
                cmdline += recipe.cmdline;
            }
            if group.is_partial {
                cmdline += &format!(" rig.only={}", group.ids.join(","));
            }
            if let Some(minutes) = args.minutes {
                cmdline += &format!(" rig.minutes={minutes}");
            }
            if args.long {
                cmdline += " rig.long";
            } else if i != newest && args.only.is_none() {
                if group.every == 0 {
                    continue;
                }
                cmdline += " rig.brief";
            }
            let memory_mib = group.memory_mib;
            let forward = dashboards::live::forward(name)?;
            let boot = Boot {
                cmdline,
                memory_mib,
                forward,
                counts_instructions: false,
                host,
                rig,
                kernel,
            };
            let took = durations::last(&kernel.0.abi, name);
            let expected =
                took.unwrap_or(SCENARIO * u32::try_from(group.ids.len()).unwrap_or(u32::MAX));
            boots.push((expected, name.as_str(), boot));
        }
    }
    if boots.is_empty() {
        bail!("--only selects nothing for these kernels");
    }
    // Longest last, as the queue is taken from its end: then all workers end at about the same time.
    boots.sort_by_key(|(expected, ..)| *expected);
    let whole = args.only.is_none() && !args.long && args.minutes.is_none();
    run_all(boots, limit, whole, tally)
}

/// What a scenario of a group that has not run yet is expected to take.
const SCENARIO: Duration = Duration::from_secs(10);

/// The maximum number of concurrent guests, which take up to 3 GiB each.
const GUESTS: usize = 4;

/// Boots one more at a time than there are processors, as a guest uses one and is idle a quarter of
/// its time.
fn run_all(
    boots: Vec<(Duration, &str, Boot)>,
    limit: Duration,
    whole: bool,
    tally: &mut Tally,
) -> Result<()> {
    let workers =
        thread::available_parallelism().map_or(2, |n| n.get() + 1).min(GUESTS).min(boots.len());
    let (queue, tally) = (Mutex::new(boots), Mutex::new(tally));
    let next = || queue.lock().ok()?.pop();
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some((_, group, host)) = next() {
                let start = Instant::now();
                boot(&host, group, limit, &tally)?;
                if whole {
                    durations::keep(&host.kernel.0.abi, group, start.elapsed())?;
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a worker has panicked"))??;
        }
        Ok(())
    })
}

/// Boots one group and prints its results.
fn boot(boot: &Boot, group: &str, limit: Duration, tally: &Mutex<&mut Tally>) -> Result<()> {
    let abi = &boot.kernel.0.abi;
    let kernel = abi.trim_end_matches("-amd64");
    let name = format!("{kernel} {group}");
    let path = project::logs().join(format!("{abi}-{group}.log"));
    let mut log =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let (mut console, start) = (Console::default(), Instant::now());
    let mut guest = boot.start()?;
    let watch = dashboards::live::Watch::start(boot)?;
    let ended = loop {
        let line = match guest.next(Some(start + limit))? {
            Event::Line(line) => line,
            Event::PoweredOff => break "ended too early",
            Event::Deadline => break "ran into its time limit",
        };
        writeln!(log, "{line}").with_context(|| format!("cannot write {}", path.display()))?;
        if let Some(report) = console.line(&line) {
            print_report(kernel, report);
        }
        // A Debian host would reboot for ever.
        if console.has_panicked() {
            break "has panicked";
        }
    };
    for report in watch.map(dashboards::live::Watch::finish).into_iter().flatten() {
        print_report(kernel, &report);
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
    if !console.done {
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
    let mut tally = tally.lock().map_err(|_| anyhow!("a worker has panicked"))?;
    tally.boot(&name, &console.reports, trouble.as_deref());
    Ok(())
}

fn print_report(kernel: &str, report: &ScenarioReport) {
    let ScenarioReport { id, description, detail, .. } = report;
    match report.status {
        Status::Passed => println!("  {:<9}{kernel} {id}: {description} ({detail})", "ok"),
        Status::Skipped => println!("  {:<9}{kernel} {id}: {description} ({detail})", "skipped"),
        Status::Failed => {
            println!("  {:<9}{kernel} {id}: {description}\n  {:<9}{detail}", "FAILED", "");
        }
    }
}
