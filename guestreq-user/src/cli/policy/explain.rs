//! # guestreq policy explain

mod table;

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use serde::Serialize;

use crate::{
    cli::{Format, print, socket, trees::Trees},
    client,
    config::Config,
    host::{self, Evidence, Identified, Identity, system::System},
    observe::processes::read,
    policy::{Effective, RuleResult, Store, key_of},
    text::quoted,
    wire::explain::{Explained, path},
};

/// Say how a VM was identified, which rules match it, and where its policy comes from
#[derive(clap::Args)]
#[command(after_help = "\
With --vm the agent tells what it has read, and what holds. With --pid it is asked, too; without an \
agent, of a process that it knows nothing of, and with --config the process is read, and files tell. \
What a process says now may differ from what the agent has read, which holds: then both are told.

Example: guestreq policy explain --vm web-1

Example: guestreq policy explain --pid 4711 --procfs collected/proc --config config.toml")]
pub struct Args {
    #[command(flatten)]
    event_vm: EventVm,
    /// A table for people, or JSON for programs
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// By this configuration and its conf.d, whatever the agent does
    #[arg(long, value_name = "FILE", conflicts_with = "vm")]
    config: Option<PathBuf>,
    #[command(flatten)]
    trees: Trees,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct EventVm {
    /// The VM, by its name in `guestreq vms`, its UUID or its pid
    #[arg(long, value_name = "VM")]
    vm: Option<String>,
    /// A VMM, by its process
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// `guestreq policy explain -o json`
#[derive(Serialize)]
struct Explanation {
    by: By,
    identity: Shown,
    /// Of its VMM.
    pid: u32,
    /// What told each part of the identity; what is missing here is not known.
    evidence: Vec<Evidence>,
    /// What the process says now, where that is not what the agent has read and goes by; else null.
    now: Option<Now>,
    /// In the order in which they are tried.
    rules: Vec<RuleResult>,
    /// What holds, and who says so.
    policy: Effective,
    /// What else is to be known.
    notes: Vec<String>,
}

/// Who tells: `agent`, what it goes by; `files`, what an agent would that read them now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Agent,
    Files,
}

/// Who a VM is.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    identity: Identity,
    /// The `vm` label of its series, which another VM of its name may have.
    label: String,
}

/// What a process says now.
#[derive(Serialize)]
struct Now {
    identity: Identity,
    evidence: Vec<Evidence>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let system = self.trees.choose()?;
        let ask = |vm: &str| client::get::<Explained>(&socket(self.socket.clone()), &path(vm));
        let explanation = match (&self.event_vm.vm, self.event_vm.pid, &self.config) {
            (Some(vm), ..) => of_agent(ask(vm)?, system),
            (None, Some(pid), None) => {
                of_process(system, pid, None, Some(ask(&format!("pid:{pid}"))))?
            }
            (None, Some(pid), Some(config)) => of_process(system, pid, Some(config), None)?,
            (None, None, _) => bail!("which VM: --vm or --pid"),
        };
        print(self.output, &explanation, table::text)
    }
}

/// What the agent goes by; and what the process says now, if that is something else.
fn of_agent(vm: Explained, system: &System) -> Explanation {
    let Explained { vm: label, pid, started, running, unread, identity, evidence, rules, policy } =
        vm;
    let mut notes = Vec::new();
    let now = match read(system, pid, |ticks| Some(ticks) == started) {
        Ok(Some((Identified { identity: other, evidence }, _))) => {
            (other != identity).then_some(Now { identity: other, evidence })
        }
        Ok(None) => {
            notes.push("the process has gone, or cannot be seen from here".to_owned());
            None
        }
        Err(error) => {
            notes.push(format!("what the process says now cannot be read: {error}"));
            None
        }
    };
    if now.is_some() {
        notes.push(
            "the process says something else now: what the agent has read first holds for as \
             long as the VM runs"
                .to_owned(),
        );
    }
    if unread {
        notes.push("the process does not answer: the VM gets its name when it does".to_owned());
    }
    if !running {
        notes.push("the VM has gone".to_owned());
    }
    if evidence.is_empty() && !unread {
        notes.push(
            "an older version's agent has read it, which did not keep what told it".to_owned(),
        );
    }
    let identity = Shown { identity, label };
    Explanation { by: By::Agent, identity, pid, evidence, now, rules, policy, notes }
}

/// What a process says, and its start, which is not known of files that were collected without
/// `stat`.
fn found(system: &System, pid: u32) -> io::Result<Option<(Identified, Option<u64>)>> {
    match read(system, pid, |_| true)? {
        Some((found, ticks)) => Ok(Some((found, Some(ticks)))),
        None if system.process(pid).join("stat").exists() => Ok(None),
        None => Ok(host::identify(system, pid)?.map(|found| (found, None))),
    }
}

/// Why nothing is known of a process.
fn unread(folder: &Path) -> Error {
    if !folder.is_dir() {
        return anyhow!("there is no {}, or it is hidden (mount option hidepid)", folder.display());
    }
    let missing: Vec<_> =
        ["comm", "cmdline"].into_iter().filter(|name| !folder.join(name).exists()).collect();
    match missing.is_empty() {
        true => anyhow!("comm or cmdline of {} cannot be read", folder.display()),
        false => anyhow!("{} has no {}", folder.display(), missing.join(" and no ")),
    }
}

/// A process, by the agent if it knows that one, or else by what is said in files.
fn of_process(
    system: &System,
    pid: u32,
    config: Option<&PathBuf>,
    agent: Option<Result<Explained>>,
) -> Result<Explanation> {
    let found = found(system, pid).with_context(|| format!("process {pid}"))?;
    let mut notes = Vec::new();
    match agent {
        // By its start it is told from another one of that number, on another host as well.
        Some(Ok(vm))
            if found.as_ref().is_none_or(|(_, ticks)| ticks.is_some() && vm.started == *ticks) =>
        {
            return Ok(of_agent(vm, system));
        }
        Some(Ok(_)) => notes.push("the agent knows another process of this number".to_owned()),
        Some(Err(error)) => notes.push(format!("by files, as the agent does not tell: {error:#}")),
        None => {}
    }
    let Some((Identified { identity, evidence }, _)) = found else {
        return Err(unread(&system.process(pid)));
    };
    let config = Config::load(config.map(PathBuf::as_path))?;
    let overrides = Store::new(&config.state).read().unwrap_or_else(|error| {
        notes.push(format!("without what the command line has set: {error:#}"));
        Default::default()
    });
    let policy_set = config.policy_set(overrides);
    if !host::Vmm::is_one(&identity.vmm) {
        let what = quoted(&identity.vmm);
        notes.push(format!("{what} is no VMM that guestreq knows: its arguments are not read"));
    }
    if key_of(&identity).is_none() {
        notes
            .push("nothing can be set for it by hand: it has neither a name nor a UUID".to_owned());
    }
    let label = host::label(&identity, pid);
    let (rules, policy) = (policy_set.tried(&identity), policy_set.resolve(&identity));
    let identity = Shown { identity, label };
    Ok(Explanation { by: By::Files, identity, pid, evidence, now: None, rules, policy, notes })
}

#[cfg(test)]
mod tests;
