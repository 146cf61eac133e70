//! # guestreq policy

mod apply;
mod check;
mod explain;

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Result;
use clap::Subcommand;
pub use explain::explained;
use guestreq_common::{
    message::MessageType,
    policy::{Allowed, Mode},
};

use super::{
    Reading,
    change::{Insist, Writing},
    table::{self, name},
};
use crate::{
    enforce::denial,
    text::printable,
    wire::policy::{
        self, Change, Configuration, Effective, Enforcement, Failed, Named, Policies, VmPolicy,
    },
};

/// Show and set which message types VMs may send, and whether that is enforced
#[derive(clap::Args)]
#[command(after_help = message_types())]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

fn message_types() -> String {
    let ordinary = policy::Types(Allowed::DEFAULT);
    let others = MessageType::ALL.into_iter().filter(|of| !ordinary.0.has(*of));
    let others: policy::Types = others.collect();
    format!(
        "Message types: {ordinary} are what Linux guests use. The others are {others} (for any other \
         number). Guests rarely send tio_ types: their VMM makes SEV-TIO requests with another \
         command, which is counted but not subject to policies."
    )
}

#[derive(Subcommand)]
enum Verb {
    /// Show each VM's policy, where it comes from, and decisions so far
    #[command(after_help = "Example: guestreq policy show -o json | jq .enforcement")]
    Show {
        #[command(flatten)]
        reading: Reading,
    },
    /// Allow message types in addition to those allowed now
    #[command(after_help = "Example: guestreq policy allow export import --vm migrating-1")]
    Allow(Types),
    /// Deny message types
    #[command(after_help = "\
A Linux guest stops using a VMPCK after a denial, until it reboots.

Example: guestreq policy deny cpuid unknown --default")]
    Deny(Types),
    #[command(name = "mode")]
    SetMode(SetMode),
    /// Remove overrides of mode and types; the configuration applies again
    #[command(after_help = "Example: guestreq policy clear --vm web-1")]
    Clear {
        #[command(flatten)]
        writing: Writing,
        #[command(flatten)]
        yes: Yes,
    },
    Explain(explain::Args),
    Check(check::Args),
    Apply(apply::Args),
}

#[derive(clap::Args)]
struct Types {
    /// Message types, such as report or unknown
    #[arg(value_name = "TYPE", required = true)]
    types: Vec<Named<MessageType>>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    yes: Yes,
}

/// Set the mode: observe decides nothing, audit counts refusals, enforce refuses
#[derive(clap::Args)]
#[command(
    name = "mode",
    after_help = "\
Before enforcing, check what audit has counted: guestreq policy show.

Example: guestreq policy mode enforce --vm web-1"
)]
struct SetMode {
    /// observe, audit or enforce
    #[arg(value_name = "MODE")]
    mode: Named<Mode>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    yes: Yes,
}

#[derive(clap::Args)]
struct Yes {
    /// Proceed even if running VMs lose VMPCKs, or need rescues
    #[arg(long)]
    yes: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let insist = |Yes { yes }| Insist { force: false, yes };
        match self.verb {
            Verb::Show { reading } => reading.print(&reading.get("/v1/policy")?, text),
            Verb::Allow(Types { types, writing, yes }) => {
                writing.put(Change::Allow(types), insist(yes), allow)
            }
            Verb::Deny(Types { types, writing, yes }) => {
                writing.put(Change::Deny(types), insist(yes), allow)
            }
            Verb::SetMode(SetMode { mode, writing, yes }) => {
                writing.put(Change::Mode(mode), insist(yes), mode_of)
            }
            Verb::Explain(args) => args.run(),
            Verb::Check(args) => args.run(),
            Verb::Apply(args) => args.run(),
            Verb::Clear { writing, yes } => writing.put(Change::ClearPolicy, insist(yes), both),
        }
    }
}

fn mode_of(effective: &Effective) -> String {
    format!("mode {}", effective.mode.value)
}

fn allow(effective: &Effective) -> String {
    format!("allow {}", effective.allow.value)
}

fn both(effective: &Effective) -> String {
    format!("{}, {}", mode_of(effective), allow(effective))
}

pub const HEADER: [&str; 5] = ["VM", "MODE", "ALLOW", "DECISIONS", "FROM"];

pub fn text(policies: &Policies) -> String {
    let status = &policies.enforcement;
    let mut text = format!("Backend {}: {}\n", status.backend, enforcing(status));
    if let Some(after) = status.vcpu_denied {
        text.push_str(&format!("After a denied type: {}\n", denial::describe(after.0)));
    }
    text.push_str(&configuration(&policies.config));
    text.push_str(&bypassed(status));
    let mut table = table::new(&HEADER, &[]);
    table::fold(&mut table);
    table.add_rows(rows(policies));
    text.push('\n');
    text + &table::text(&table)
}

fn enforcing(status: &Enforcement) -> String {
    match (&status.reason, status.verified) {
        _ if status.mode.0 != Mode::Enforce => "not enforcing".to_owned(),
        (_, true) => "enforcing, verified".to_owned(),
        (Some(reason), false) => format!("NOT ENFORCED: {}", printable(reason)),
        (None, false) => "NOT ENFORCED".to_owned(),
    }
}

fn bypassed(status: &Enforcement) -> String {
    match status.bypassed {
        Some(bypassed @ 1..) => format!("Bypassed enforcement: {bypassed}\n"),
        _ => String::new(),
    }
}

/// The default's, then those of VMs.
pub fn rows(policies: &Policies) -> Vec<Vec<String>> {
    let row = |vm: String, policy: &Effective, decisions: String| {
        let (mode, allow) = (policy.mode.value.to_string(), policy.allow.value.to_string());
        vec![vm, mode, allow, decisions, printable(&origins(policy))]
    };
    let mut rows = vec![row("(default)".to_owned(), &policies.default, "-".to_owned())];
    rows.extend(policies.vms.iter().map(|vm| row(name(&vm.vm), &vm.policy, decisions(vm))));
    let absent = |(vm, policy): (&String, &Effective)| {
        row(format!("{} (not running)", name(vm)), policy, "-".to_owned())
    };
    rows.extend(policies.absent.iter().map(absent));
    rows
}

/// What a table of several hosts must not leave out, in lines.
pub fn remarks(policies: &Policies) -> Vec<String> {
    let status = &policies.enforcement;
    let mut lines = Vec::new();
    if status.mode.0 == Mode::Enforce && !status.verified {
        lines.push(enforcing(status));
    }
    let failed = configuration(&policies.config);
    let failed = failed.lines().skip(1).map(str::to_owned);
    lines.extend(failed.chain(bypassed(status).lines().map(str::to_owned)));
    lines
}

/// The files in use, and what is not yet effective.
fn configuration(config: &Configuration) -> String {
    let files =
        if config.files.is_empty() { "no file".to_owned() } else { config.files.join(", ") };
    let mut text = format!("Configuration: {}, read {}\n", printable(&files), config.read_at);
    if let Some(Failed { at, error }) = &config.failed {
        let why = printable(error);
        text.push_str(&format!("RELOAD FAILED at {at}; still using the above: {why}\n"));
    }
    if !config.pending.is_empty() {
        let keys = config.pending.join(", ");
        text.push_str(&format!("Changed: {keys}: takes effect at the next start\n"));
    }
    text
}

fn origins(policy: &Effective) -> String {
    let (mode, allow) = (policy.mode.origin.to_string(), policy.allow.origin.to_string());
    if mode == allow { mode } else { format!("mode: {mode}; allow: {allow}") }
}

/// `audit: admit 12, deny 3 export; enforce: busy 1`: only denials are listed by type.
fn decisions(vm: &VmPolicy) -> String {
    let of_mode = |(mode, messages): (&String, &BTreeMap<String, BTreeMap<String, u64>>)| {
        let sum = |decision: &str| -> u64 {
            messages.values().filter_map(|counts| counts.get(decision)).sum()
        };
        let mut parts = Vec::new();
        for decision in ["admit", "busy"] {
            if sum(decision) > 0 {
                parts.push(format!("{decision} {}", sum(decision)));
            }
        }
        for (message, counts) in messages {
            if let Some(denied) = counts.get("deny") {
                parts.push(format!("deny {denied} {message}"));
            }
        }
        format!("{mode}: {}", parts.join(", "))
    };
    if vm.decisions.is_empty() {
        return "-".to_owned();
    }
    vm.decisions.iter().map(of_mode).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
