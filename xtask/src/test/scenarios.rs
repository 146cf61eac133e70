//! # Booting each kernel once per group

mod booted;
mod durations;
mod groups;
mod hosts;
mod queue;

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use groups::{is_due, parse, select};
use hosts::Hosts;
use queue::{Planned, Queue};

use super::tally::Tally;
use super::{Args, dashboards};
use crate::rig::boot::Boot;
use crate::setup::{Recipe, Rig};
use crate::{process, project};

pub fn run(args: &Args, rig: &Rig, tally: &mut Tally) -> Result<()> {
    let list = process::output(Command::new(project::static_binary("scenarios")).arg("--list"))?;
    let mut groups = parse(&list)?;
    if let Some(only) = &args.only {
        select(&mut groups, only)?;
    }
    let long = args.long || args.only.is_some() && groups.values().any(|group| group.long);
    let limit = Duration::from_secs(if long { 7200 } else { 1800 })
        + Duration::from_secs(120 * u64::from(args.minutes.unwrap_or(0)));
    let (mut planned, hosts) = (Vec::new(), Hosts::prepare(args, rig, &groups)?);
    // Scenarios that are not worth a boot of each kernel run on the newest only, except with --long.
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
            } else if args.only.is_none() && recipe.is_none() {
                // A kernel that is built is for the night.
                let due = if i == newest { group.newest } else { group.every };
                if due == 0 {
                    continue;
                }
                cmdline += if i == newest { " rig.change" } else { " rig.change rig.brief" };
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
            planned.push(Planned { expected, group: name, timed: &group.timed, boot });
        }
    }
    if planned.is_empty() {
        bail!("--only selects nothing for these kernels");
    }
    let whole = args.only.is_none() && !args.long && args.minutes.is_none();
    // What has run until then counts nevertheless.
    if let Err(error) = Queue::new(planned, limit, whole).run(tally) {
        tally.boot("rig", &[], Some(&format!("{error:#}")));
    }
    Ok(())
}

/// What a scenario of a group that has not run yet is expected to take.
const SCENARIO: Duration = Duration::from_secs(10);
