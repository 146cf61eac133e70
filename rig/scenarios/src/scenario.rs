//! # Scenarios and how they run

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    agent::{Agent, cli},
    debian::Progress,
    host::{self, Firmware},
    scenarios,
};

/// What a scenario may depend on.
pub struct Context {
    /// Whether the run may take an hour.
    pub long: bool,
    /// Whether this is one of the runs that each change gets: scenarios for the night are skipped.
    pub every_change: bool,
    /// Whether other guests may run on the same machine, which distorts times.
    pub beside: bool,
    /// Whether the kernel checks each of its steps: how long anything takes then means nothing.
    pub is_debug_kernel: bool,
    /// The kernel's release.
    pub kernel: String,
}

impl Context {
    /// Whether a comparison of times leaves out what other guests distort: on each change. At night it
    /// fails beside others instead, and runs again alone.
    pub fn is_lenient(&self) -> bool {
        self.beside && self.every_change
    }

    /// How often a comparison of times is tried: other load can only make it fail, and a fault makes it
    /// fail each time. Beside other guests once, as what fails there runs again alone.
    pub fn attempts(&self) -> u32 {
        if self.beside { 1 } else { 3 }
    }

    /// Whether this is Debian's PREEMPT_RT kernel.
    pub fn is_realtime(&self) -> bool {
        self.kernel.ends_with("-rt-amd64")
    }

    /// Whether this kernel is 7.0 or later, where guests can get certificates from their VMM.
    pub fn has_request_certificates(&self) -> bool {
        let major = self.kernel.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major >= 7)
    }
}

/// One promise and its check.
pub struct Scenario {
    /// `SUBJECT/NAME`; the subject is a file or a group.
    pub id: &'static str,
    /// The promise, in one sentence.
    pub description: &'static str,
    pub check: fn(&Context) -> Result<Status>,
    pub traits: Traits,
}

/// What decides when a scenario runs.
#[derive(Clone, Copy)]
pub struct Traits {
    /// Takes minutes: only with `--long`.
    pub long: bool,
    /// Costs each change more than it tells: at night, or when asked for.
    pub night: bool,
    /// Compares times. Not for debug kernels; and if it fails beside other guests, it runs again
    /// alone, and only that counts.
    pub timed: bool,
    /// Needs the agent, which needs symbols that debug kernels lack.
    pub agent: bool,
}

impl Traits {
    pub const NONE: Traits = Traits { long: false, night: false, timed: false, agent: false };

    /// Whether the runs of each change include it.
    pub fn every_change(self) -> bool {
        !self.long && !self.night
    }
}

impl Scenario {
    /// Why it does not run.
    fn skipped(&self, context: &Context) -> Option<&'static str> {
        let Traits { long, night, timed, agent } = self.traits;
        match () {
            () if long && !context.long => Some("only with --long"),
            () if night && context.every_change => Some("at night, or with --only"),
            () if timed && context.is_debug_kernel => {
                Some("compares times, which are a debug kernel's own")
            }
            () if agent && context.is_debug_kernel => {
                Some("needs the agent, which needs a kernel such as Debian's")
            }
            () => None,
        }
    }
}

/// Declares a scenario: `scenario!(CONSTANT: "ID" = CHECK, "DESCRIPTION");`, with its [`Traits`]
/// before the constant, such as `night timed CONSTANT`.
macro_rules! scenario {
    (@ $traits:expr; long $($rest:tt)+) => {
        $crate::scenario::scenario!(@ $crate::scenario::Traits { long: true, ..$traits }; $($rest)+);
    };
    (@ $traits:expr; night $($rest:tt)+) => {
        $crate::scenario::scenario!(@ $crate::scenario::Traits { night: true, ..$traits }; $($rest)+);
    };
    (@ $traits:expr; timed $($rest:tt)+) => {
        $crate::scenario::scenario!(@ $crate::scenario::Traits { timed: true, ..$traits }; $($rest)+);
    };
    (@ $traits:expr; agent $($rest:tt)+) => {
        $crate::scenario::scenario!(@ $crate::scenario::Traits { agent: true, ..$traits }; $($rest)+);
    };
    (@ $traits:expr; $name:ident: $id:literal = $check:expr, $description:literal) => {
        pub const $name: $crate::scenario::Scenario = $crate::scenario::Scenario {
            id: $id,
            description: $description,
            check: $check,
            traits: $traits,
        };
    };
    ($($rest:tt)+) => {
        $crate::scenario::scenario!(@ $crate::scenario::Traits::NONE; $($rest)+);
    };
}
pub(crate) use scenario;

pub enum Status {
    Passed,
    /// Why the scenario does not apply.
    Skipped(&'static str),
}

/// What the host must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// This project's programs.
    Rig,
    /// QEMU, too.
    Vmm,
    /// Runtimes of Kubernetes nodes, with an image of the agent.
    Nodes,
    /// A complete Debian with systemd. Scenarios may reboot it, see [`crate::debian`].
    Debian,
}

impl Needs {
    const fn word(self) -> &'static str {
        match self {
            Needs::Rig => "rig",
            Needs::Vmm => "vmm",
            Needs::Nodes => "nodes",
            Needs::Debian => "debian",
        }
    }
}

/// Scenarios that share a boot.
pub struct Group {
    pub name: &'static str,
    /// Added to the kernel's command line.
    pub cmdline: &'static str,
    pub memory_mib: u32,
    pub needs: Needs,
    /// Whether it runs only with `--long` or by name, on each kernel that has what it needs.
    pub long: bool,
    /// Prepares the host.
    pub prepare: fn() -> Result<()>,
    /// Scenarios that depend on the kernel, and are worth a boot of each.
    pub scenarios: &'static [Scenario],
    /// The others: on a change the newest kernel suffices.
    pub once: &'static [Scenario],
}

impl Group {
    /// No scenarios, on an SNP host with all modules and a GiB.
    pub const DEFAULT: Group = Group {
        name: "",
        cmdline: "",
        memory_mib: 1024,
        needs: Needs::Rig,
        long: false,
        prepare: host::load_all,
        scenarios: &[],
        once: &[],
    };

    pub fn all(&self) -> impl Iterator<Item = &'static Scenario> {
        self.scenarios.iter().chain(self.once)
    }
}

/// A line per scenario and group: id, description, group, kernels (`every`, `one`, `realtime` or
/// `long`), `timed` or `-`, `change` or `night`, memory in MiB, what it needs, and what the group
/// adds to the kernel's command line.
pub fn list() {
    for group in scenarios::GROUPS {
        let cmdline = if group.cmdline.is_empty() { "-" } else { group.cmdline };
        for (i, scenario) in group.all().enumerate() {
            let kernels = match i < group.scenarios.len() {
                _ if group.name == scenarios::realtime::GROUP.name => "realtime",
                _ if group.long => "long",
                true => "every",
                false => "one",
            };
            let timed = if scenario.traits.timed { "timed" } else { "-" };
            let when = if scenario.traits.every_change() { "change" } else { "night" };
            println!(
                "{}\t{}\t{}\t{kernels}\t{timed}\t{when}\t{}\t{}\t{cmdline}",
                scenario.id,
                scenario.description,
                group.name,
                group.memory_mib,
                group.needs.word()
            );
        }
    }
}

/// Runs a group, or only its scenarios with these ids, separated by commas.
pub fn run(name: &str, only: Option<&str>, context: &Context, brief: bool) -> Result<()> {
    let Some(group) = scenarios::GROUPS.iter().find(|group| group.name == name) else {
        bail!("there is no group {name}");
    };
    let mut progress = Progress::open(group.needs)?;
    let prepared = (group.prepare)();
    let modules: Vec<_> = host::MODULES.into_iter().filter(|it| host::is_loaded(it)).collect();
    let all = group.all().take(if brief { group.scenarios.len() } else { usize::MAX });
    let is_wanted = |id| only.is_none_or(|only| only.split(',').any(|wanted| wanted == id));
    let wanted: Vec<_> = all.filter(|scenario| is_wanted(scenario.id)).collect();
    for scenario in &wanted {
        // Before a reboot: its result is on the console.
        if progress.has(scenario.id) {
            continue;
        }
        println!("RIG: run {}: {}", scenario.id, scenario.description);
        let start = Instant::now();
        let outcome = match &prepared {
            Ok(()) => match scenario.skipped(context) {
                Some(reason) => Ok(Status::Skipped(reason)),
                None => (scenario.check)(context),
            },
            Err(error) => Err(anyhow::anyhow!("preparing the host: {error:#}")),
        };
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Status::Passed) => println!("RIG: ok {} ({seconds:.1} s)", scenario.id),
            Ok(Status::Skipped(reason)) => println!("RIG: skipped {}: {reason}", scenario.id),
            Err(error) => {
                println!("RIG: FAILED {}: {}", scenario.id, one_line(&format!("{error:#}")));
                println!("{}", Agent::last_log());
                if group.needs != Needs::Debian {
                    leave_nothing(&modules);
                }
            }
        }
        progress.add(scenario.id)?;
    }
    println!("RIG: done {}", wanted.len());
    Ok(())
}

/// What a failed scenario has left, or removed, would decide the next one. Some of it is as it should
/// be already.
fn leave_nothing(modules: &[&str]) {
    for module in modules {
        let _ = host::insmod(module, &[]);
    }
    let _ = Firmware::reset();
    let _ = cli(&["detach"]);
}

fn one_line(text: &str) -> String {
    text.replace('\n', " | ")
}
