//! # Launches
//!
//! What a launch's command costs, compared with empty programs on the same hooks, and how far the
//! agent's times are from the firmware's and the VMM's. The first program on a hook pays for cold
//! caches, so there are two rounds with opposite orders.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use guestreq_common::command::SNP_LAUNCH_FINISH;
use serde_json::json;

use super::{
    cost::{NamedProgram, add, of, of_empty, per, print_each},
    programs, report,
    subjects::{self, MeasuredAgent},
};
use crate::{
    agent::Agent,
    bpf::Statistics,
    host::{Firmware, wait_until},
    load,
    scenarios::launches,
};

/// Our entry programs on a launch command's path, and the empty ones on the same hooks.
const ON_COMMANDS: [&str; 3] = ["on_issue_comman", "on_command_star", "on_command_end"];
const EMPTY: [&str; 3] = ["issue_command", "command_start", "command_end"];
const VMS: u64 = 2;
const LIMIT: Duration = Duration::from_secs(600);

pub fn run(long: bool) -> Result<()> {
    let pages = if long { 20_000 } else { 2_000 };
    let mut sum = Sum::default();
    {
        let _on = Statistics::on()?;
        {
            let agent = MeasuredAgent::start()?;
            sum.round(&agent.ids, &subjects::empty()?, pages)?;
        }
        let empty = subjects::empty()?;
        sum.round(&MeasuredAgent::start()?.ids, &empty, pages)?;
    }
    let _agent = Agent::start(&[])?;
    let found = launches::exact::deviation()?;
    let [ours, empty] = sum.totals;
    report(&json!({
        "bpf_ns_per_launch_command": per(ours.1, sum.commands),
        "bpf_launch_runs": ours.0,
        "empty_ns_per_launch_command": per(empty.1, sum.commands),
        "empty_launch_runs": empty.0,
        "launch_commands": sum.commands,
        "launch_service_excess_percent": found.service * 100.0,
        "launch_duration_shortfall_percent": found.duration * 100.0,
        "launches_compared": found.launches,
        "launch_commands_compared": found.commands,
    }));
    Ok(())
}

/// Runs and nanoseconds of our programs and of the empty ones, for so many commands.
#[derive(Default)]
struct Sum {
    commands: u64,
    totals: [(u64, u64); 2],
}

impl Sum {
    /// Launches whose commands alternate, like those of several VMMs.
    fn round(&mut self, ours: &BTreeSet<u32>, empty: &[NamedProgram], pages: u64) -> Result<()> {
        let totals = || -> Result<_> {
            let empty = empty.iter().filter(|(name, _)| EMPTY.contains(name));
            Ok([of(ours, &ON_COMMANDS)?, of_empty(empty)?])
        };
        let (before, each) = (totals()?, programs::all(ours)?);
        let first = Firmware::read()?;
        // Held, so that its end is not counted.
        let load =
            load::start(&format!("--vms {VMS} --processes --pages {pages} --count 0 --hold"))?;
        wait_until("both have launched", LIMIT, || {
            Ok(Firmware::read()?.since(&first).count(SNP_LAUNCH_FINISH) == VMS)
        })?;
        let after = totals()?;
        print_each(&each, &programs::all(ours)?);
        let launches = Firmware::read()?.launches_since(&first)?;
        self.commands += launches.iter().map(|launch| launch.commands).sum::<u64>();
        load.finish()?;
        add(&mut self.totals, &before, &after);
        Ok(())
    }
}
