//! # What a change costs
//!
//! A guestreq from before the change and this one, in turn, in the same kernel and for the same
//! load. An emulator's times vary, so each is measured several times, and medians and minima count.
//! Where the emulator's clock counts instructions instead, they hardly vary, but do not tell what
//! memory costs.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use guestreq_common::command::SNP_LAUNCH_FINISH;
use serde_json::{Map, json};

use super::{cost::until_sent, programs, report, subjects::MeasuredAgent};
use crate::{
    bpf::Statistics,
    gate::Gate,
    host::{Firmware, wait_until},
    load,
};

/// Before and now.
const BINARIES: [&str; 2] = ["/bin/guestreq-before", "/bin/guestreq"];

/// What the agents observe or decide.
struct Subject {
    name: &'static str,
    /// Of the configuration.
    lines: &'static str,
    measure: fn(&MeasuredAgent) -> Result<Cost>,
}

const SUBJECTS: [Subject; 4] = [
    Subject { name: "observed", lines: "", measure: requests },
    Subject { name: "enforced", lines: "mode = \"enforce\"\n", measure: requests },
    // So high that it refuses nothing.
    Subject {
        name: "limited",
        lines: "mode = \"enforce\"\nlimit = { rate = \"1000/s\", burst = 1000 }\n",
        measure: requests,
    },
    Subject { name: "launch", lines: "", measure: launch_commands },
];

pub fn in_time(long: bool) -> Result<()> {
    measure("ns", if long { 24 } else { 6 })
}

pub fn in_instructions(long: bool) -> Result<()> {
    measure("instructions", if long { 6 } else { 2 })
}

fn measure(unit: &str, rounds: u32) -> Result<()> {
    let _on = Statistics::on()?;
    let mut costs: [[Vec<Cost>; 2]; SUBJECTS.len()] = Default::default();
    for round in 0..rounds {
        for (subject, costs) in SUBJECTS.iter().zip(&mut costs) {
            // Neither is always the first.
            for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                let cost = subject.cost(BINARIES[which])?;
                println!(
                    "  {:<9} {:<21} {:.0} {unit}",
                    subject.name,
                    BINARIES[which],
                    cost.of(ALL)
                );
                costs[which].push(cost);
            }
        }
    }
    for (subject, costs) in SUBJECTS.iter().zip(&costs) {
        subject.report(unit, costs);
    }
    Ok(())
}

impl Subject {
    fn cost(&self, binary: &str) -> Result<Cost> {
        let enforces = !self.lines.is_empty();
        let gate = if enforces { Some(Gate::load(&[])?) } else { None };
        let agent = MeasuredAgent::of(binary, self.lines)?;
        let cost = (self.measure)(&agent)?;
        agent.agent.stop()?;
        if let Some(gate) = gate {
            let status = Command::new(binary).arg("detach").status().context("detach")?;
            ensure!(status.success(), "{binary} detach: {status}");
            gate.remove()?;
        }
        Ok(cost)
    }

    fn report(&self, unit: &str, costs: &[Vec<Cost>; 2]) {
        let mut names: Vec<&str> =
            costs.iter().flatten().flat_map(|cost| cost.0.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        for program in names {
            let of = |costs: &[Cost]| sorted(costs.iter().map(|cost| cost.of(program)));
            let [before, now] = [of(&costs[0]), of(&costs[1])];
            report(&json!({ "change": {
                "unit": unit, "load": self.name, "program": program,
                "before": median(&before), "now": median(&now),
                "ratio": median(&now) / median(&before),
                "least_before": before[0], "least_now": now[0], "least_ratio": now[0] / before[0],
            }}));
            if program == ALL {
                let keys = [("before", before), ("now", now)];
                let figure = |(when, ns): (&str, Vec<f64>)| {
                    (format!("{}_{unit}_{when}", self.name), json!(median(&ns)))
                };
                report(&Map::from_iter(keys.map(figure)).into());
            }
        }
    }
}

/// Nanoseconds, or instructions, of each program and of [`ALL`], for a request or a command.
#[derive(Default)]
struct Cost(BTreeMap<String, f64>);

const ALL: &str = "all programs";

impl Cost {
    fn between(
        before: &[programs::ProgramStats],
        after: &[programs::ProgramStats],
        units: u64,
    ) -> Cost {
        let mut cost = BTreeMap::new();
        for (old, new) in before.iter().zip(after).filter(|(old, new)| new.runs > old.runs) {
            let ns = (new.ns - old.ns) as f64 / units.max(1) as f64;
            cost.insert(new.name.clone(), ns);
        }
        let all = cost.values().sum();
        cost.insert(ALL.to_owned(), all);
        Cost(cost)
    }

    fn of(&self, program: &str) -> f64 {
        self.0.get(program).copied().unwrap_or(0.0)
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values.
fn median(values: &[f64]) -> f64 {
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

const VMS: u64 = 2;
/// Requests of each VM; the first ones create records.
const WARM: u64 = 200;
const COUNT: u64 = 1200;

fn requests(agent: &MeasuredAgent) -> Result<Cost> {
    let first = Firmware::read()?;
    let load = load::start(&format!("--vms {VMS} --processes --count {COUNT} --hold"))?;
    until_sent(&first, VMS * WARM)?;
    let (warm, before) = (Firmware::read()?, programs::all(&agent.ids)?);
    until_sent(&first, VMS * COUNT)?;
    let after = programs::all(&agent.ids)?;
    let requests = Firmware::read()?.since(&warm).guest_requests;
    load.finish()?;
    Ok(Cost::between(&before, &after, requests))
}

const PAGES: u64 = 1000;

fn launch_commands(agent: &MeasuredAgent) -> Result<Cost> {
    let (first, before) = (Firmware::read()?, programs::all(&agent.ids)?);
    // Held, so that its end is not counted.
    let load = load::start(&format!("--vms {VMS} --processes --pages {PAGES} --count 0 --hold"))?;
    wait_until("both have launched", Duration::from_secs(600), || {
        Ok(Firmware::read()?.since(&first).count(SNP_LAUNCH_FINISH) == VMS)
    })?;
    let after = programs::all(&agent.ids)?;
    let launches = Firmware::read()?.launches_since(&first)?;
    load.finish()?;
    Ok(Cost::between(&before, &after, launches.iter().map(|launch| launch.commands).sum()))
}
