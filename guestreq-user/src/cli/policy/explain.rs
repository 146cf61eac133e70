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
    enforce::{denial, gate::no_weights},
    host::{self, Evidence, Identified, Identity, system::System},
    observe::processes::read,
    policy::{Effective, RuleResult, Store, key_of, never_applies, safety::Service, without_order},
    text::quoted,
    wire::explain::{Explained, path},
};

/// Explain how a VM was identified, which rules match it, and where its policy comes from
#[derive(clap::Args)]
#[command(after_help = "\
The agent answers for VMs that it knows. For other processes, without an agent or with --config, the \
process and the configuration files are read instead. The agent keeps the identity that it read \
first: if the process has another one now, both are shown.

Example: guestreq policy explain --vm web-1

Example: guestreq policy explain --pid 4711 --procfs collected/proc --config config.toml")]
pub struct Args {
    #[command(flatten)]
    vm_args: VmArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Use this configuration and its conf.d instead of the agent
    #[arg(long, value_name = "FILE", conflicts_with = "vm")]
    config: Option<PathBuf>,
    #[command(flatten)]
    trees: Trees,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct VmArgs {
    /// The VM: its name in `guestreq vms`, its UUID or its pid
    #[arg(long, value_name = "VM")]
    vm: Option<String>,
    /// The process of a VMM
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// `guestreq policy explain -o json`
#[derive(Serialize)]
struct Explanation {
    /// `agent`: what it uses; `files`: what an agent would use that read them now.
    by: By,
    identity: Shown,
    /// Process of the VMM.
    pid: u32,
    /// Sources of the identity's fields; unknown fields have none.
    evidence: Vec<Evidence>,
    /// The process' identity now, if it differs from the one that the agent uses.
    now: Option<Now>,
    /// In the order in which they are evaluated.
    rules: Vec<RuleResult>,
    /// The effective settings and their origins.
    policy: Effective,
    /// Further remarks.
    notes: Vec<String>,
}

/// Source of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Agent,
    Files,
}

/// A VM's identity and label.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    identity: Identity,
    /// The `vm` label of its series.
    label: String,
}

/// A process' identity now.
#[derive(Serialize)]
struct Now {
    identity: Identity,
    evidence: Vec<Evidence>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let system = self.trees.choose()?;
        let ask = |vm: &str| client::get::<Explained>(&socket(self.socket.clone()), &path(vm));
        let explanation = match (&self.vm_args.vm, self.vm_args.pid, &self.config) {
            (Some(vm), ..) => of_agent(ask(vm)?, system),
            (None, Some(pid), None) => {
                of_process(system, pid, None, Some(ask(&format!("pid:{pid}"))))?
            }
            (None, Some(pid), Some(config)) => of_process(system, pid, Some(config), None)?,
            (None, None, _) => bail!("--vm or --pid is required"),
        };
        print(self.output, &explanation, table::text)
    }
}

/// The agent's answer as text.
pub fn explained(vm: Explained) -> String {
    table::text(&with(vm, None, Vec::new()))
}

/// Explains by the agent's answer, and compares it with the process now.
fn of_agent(vm: Explained, system: &System) -> Explanation {
    let mut notes = Vec::new();
    let is_it = |ticks| Some(ticks) == vm.started;
    let now = match read(system, vm.pid, is_it) {
        Ok(Some((Identified { identity: other, evidence }, _))) => {
            (other != vm.identity).then_some(Now { identity: other, evidence })
        }
        Ok(None) => {
            notes.push("the process has exited, or cannot be seen from here".to_owned());
            None
        }
        Err(error) => {
            notes.push(format!("cannot read the process: {error}"));
            None
        }
    };
    with(vm, now, notes)
}

/// What the agent answered, what the process is now, and remarks on that.
fn with(vm: Explained, now: Option<Now>, remarks: Vec<String>) -> Explanation {
    let Explained { vm: label, pid, running, unread, identity, evidence, .. } = vm;
    let Explained { rules, policy, mut notes, .. } = vm;
    notes.extend(remarks);
    if now.is_some() {
        notes.push(
            "the process has another identity now: the agent keeps the first one while the VM runs"
                .to_owned(),
        );
    }
    if unread {
        notes.push("the process cannot be read yet: until then the VM has no name".to_owned());
    }
    if !running {
        notes.push("the VM has exited".to_owned());
    }
    if evidence.is_empty() && !unread {
        notes.push("read by an older agent, which did not record the sources".to_owned());
    }
    let identity = Shown { identity, label };
    Explanation { by: By::Agent, identity, pid, evidence, now, rules, policy, notes }
}

/// A process' identity, and its start unless `stat` was not collected.
fn found(system: &System, pid: u32) -> io::Result<Option<(Identified, Option<u64>)>> {
    match read(system, pid, |_| true)? {
        Some((found, ticks)) => Ok(Some((found, Some(ticks)))),
        None if system.process(pid).join("stat").exists() => Ok(None),
        None => Ok(host::identify(system, pid)?.map(|found| (found, None))),
    }
}

/// Why a process cannot be identified.
fn unread(folder: &Path) -> Error {
    if !folder.is_dir() {
        return anyhow!("{} does not exist, or is hidden (mount option hidepid)", folder.display());
    }
    let missing: Vec<_> =
        ["comm", "cmdline"].into_iter().filter(|name| !folder.join(name).exists()).collect();
    match missing.is_empty() {
        true => anyhow!("comm or cmdline of {} cannot be read", folder.display()),
        false => anyhow!("{} has no {}", folder.display(), missing.join(" and no ")),
    }
}

/// Explains a process by the agent if it knows it, else by files.
fn of_process(
    system: &System,
    pid: u32,
    config: Option<&PathBuf>,
    agent: Option<Result<Explained>>,
) -> Result<Explanation> {
    let found = found(system, pid).with_context(|| format!("process {pid}"))?;
    let mut notes = Vec::new();
    match agent {
        // The start time distinguishes processes of the same pid, also on other hosts.
        Some(Ok(vm))
            if found.as_ref().is_none_or(|(_, ticks)| ticks.is_some() && vm.started == *ticks) =>
        {
            return Ok(of_agent(vm, system));
        }
        Some(Ok(_)) => notes.push("the agent knows another process with this pid".to_owned()),
        Some(Err(error)) => {
            notes.push(format!("from files, as the agent did not answer: {error:#}"))
        }
        None => {}
    }
    let Some((Identified { identity, evidence }, _)) = found else {
        return Err(unread(&system.process(pid)));
    };
    let config = Config::load(config.map(PathBuf::as_path))?;
    let overrides = Store::new(&config.state).read().unwrap_or_else(|error| {
        notes.push(format!("without overrides: {error:#}"));
        Default::default()
    });
    let policy_set = config.policy_set(overrides);
    if !host::Vmm::is_one(&identity.vmm) {
        let what = quoted(&identity.vmm);
        notes.push(format!("{what} is not a known VMM: its arguments are not read"));
    }
    if key_of(&identity).is_none() {
        notes.push("it can have no override: it has neither a name nor a UUID".to_owned());
    }
    let label = host::label(&identity, pid);
    let (rules, policy) = (policy_set.rule_results(&identity), policy_set.resolve(&identity));
    notes.extend(never_applies(policy.limit.value, Service::PUBLISHED));
    if !policy.weight.value.is_default() {
        // Copies of a host's files may lack the gate's.
        notes.extend(match system.is_collected() {
            true => without_order(config.backend.0),
            false => no_weights(config.backend.0, system),
        });
    }
    let after_denial = denial::after_denial(config.backend.0, config.vcpu_denied.0);
    notes.extend(denial::note(&policy, after_denial));
    let identity = Shown { identity, label };
    Ok(Explanation { by: By::Files, identity, pid, evidence, now: None, rules, policy, notes })
}

#[cfg(test)]
mod tests;
