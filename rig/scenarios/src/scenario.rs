//! # What a scenario is, and how they are run

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{agent::Agent, host, scenarios};

/// What a scenario may want to know.
pub struct Context {
    /// A run that may take an hour.
    pub long: bool,
    /// The kernel's release.
    pub kernel: String,
}

impl Context {
    /// Whether this kernel is one of Debian's with PREEMPT_RT.
    pub fn is_realtime(&self) -> bool {
        self.kernel.ends_with("-rt-amd64")
    }

    /// Whether this kernel is 7.0 or later: guests may then get certificates from their VMM.
    pub fn has_request_certificates(&self) -> bool {
        let major = self.kernel.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major >= 7)
    }
}

/// One promise, checked.
pub struct Scenario {
    /// In words, as the promise is read.
    pub name: &'static str,
    pub check: fn(&Context) -> Result<Outcome>,
}

pub enum Outcome {
    Kept,
    /// Does not apply here, and why.
    Skipped(&'static str),
}

/// Scenarios that share a boot.
pub struct Group {
    pub name: &'static str,
    /// More for the kernel's command line.
    pub cmdline: &'static str,
    pub memory_mib: u32,
    /// Brings the host up.
    pub prepare: fn() -> Result<()>,
    /// What may differ from kernel to kernel.
    pub scenarios: &'static [Scenario],
    /// What the agent does by itself: one kernel is enough.
    pub once: &'static [Scenario],
}

impl Group {
    pub fn all(&self) -> impl Iterator<Item = &'static Scenario> {
        self.scenarios.iter().chain(self.once)
    }
}

pub fn list() {
    for group in scenarios::GROUPS {
        let cmdline = if group.cmdline.is_empty() { "-" } else { group.cmdline };
        for (i, scenario) in group.all().enumerate() {
            let kernels = match i < group.scenarios.len() {
                _ if group.name == scenarios::realtime::GROUP.name => "realtime",
                true => "every",
                false => "one",
            };
            println!(
                "{}\t{}\t{cmdline}\t{}\t{kernels}",
                group.name, scenario.name, group.memory_mib
            );
        }
    }
}

pub fn run(name: &str, only: Option<&str>, long: bool, brief: bool) -> Result<()> {
    let Some(group) = scenarios::GROUPS.iter().find(|group| group.name == name) else {
        bail!("there is no group {name}");
    };
    let context = Context { long, kernel: host::kernel()? };
    let prepared = (group.prepare)();
    let all = group.all().take(if brief { group.scenarios.len() } else { usize::MAX });
    for scenario in all {
        if only.is_some_and(|only| only != scenario.name) {
            continue;
        }
        let start = Instant::now();
        let outcome = match &prepared {
            Ok(()) => (scenario.check)(&context),
            Err(error) => Err(anyhow::anyhow!("preparing the host: {error:#}")),
        };
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Kept) => println!("RIG: ok {} ({seconds:.1} s)", scenario.name),
            Ok(Outcome::Skipped(reason)) => println!("RIG: skipped {}: {reason}", scenario.name),
            Err(error) => {
                println!("RIG: FAILED {}: {}", scenario.name, one_line(&format!("{error:#}")));
                // What the agent said is half of the explanation.
                println!("{}", Agent::last_words());
            }
        }
    }
    println!("RIG: done");
    Ok(())
}

fn one_line(text: &str) -> String {
    text.replace('\n', " | ")
}
