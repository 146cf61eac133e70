//! # The command line
//!
//! One file per verb.

mod agent;
mod change;
mod completions;
pub mod condition;
mod detach;
mod doctor;
mod events;
pub mod launches;
pub mod limit;
mod man;
pub mod policy;
pub mod psp;
#[cfg(test)]
mod reference;
mod report;
pub mod table;
mod top;
mod trees;
pub mod vms;

pub use completions::answer_a_shell;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use serde::{Serialize, de::DeserializeOwned};

use crate::{client, config::Config, json};

/// Per-VM accounting, latency and policy of SEV-SNP guest requests
#[derive(Parser)]
#[command(name = "guestreq", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Agent(agent::Args),
    Doctor(doctor::Args),
    Condition(condition::Args),
    Vms(vms::Args),
    Psp(psp::Args),
    Launches(launches::Args),
    Top(top::Args),
    Events(events::Args),
    Limit(limit::Args),
    Policy(policy::Args),
    Report(report::Args),
    Detach(detach::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Cli {
    pub fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Agent(args) => args.run(),
            Verb::Doctor(args) => args.run(),
            Verb::Condition(args) => args.run(),
            Verb::Vms(args) => args.run(),
            Verb::Psp(args) => args.run(),
            Verb::Launches(args) => args.run(),
            Verb::Top(args) => args.run(),
            Verb::Events(args) => args.run(),
            Verb::Limit(args) => args.run(),
            Verb::Policy(args) => args.run(),
            Verb::Report(args) => args.run(),
            Verb::Detach(args) => args.run(),
            Verb::Completions(args) => args.run(),
            Verb::Man(args) => args.run(),
        }
    }
}

/// The agent's socket: as given, or the configuration's.
fn socket(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| match Config::load(None) {
        Ok(config) => config.socket,
        // A running agent may have read an earlier, valid configuration: try the default.
        Err(error) => {
            let socket = Config::default().socket;
            if !socket.exists() {
                let why = crate::text::printable(&format!("{error:#}"));
                eprintln!(
                    "guestreq: cannot read the configuration, and there is no socket at {}: {why}",
                    socket.display()
                );
            }
            socket
        }
    })
}

/// Options of all reading verbs.
#[derive(Debug, clap::Args)]
struct Reading {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Reading {
    /// Sends a `GET` request to the agent.
    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        client::get(&socket(self.socket.clone()), path)
    }

    /// Prints an answer in the requested format.
    fn print<T: Serialize>(&self, answer: &T, table: fn(&T) -> String) -> Result<ExitCode> {
        print(self.output, answer, table)
    }
}

/// Prints an answer as a table or as JSON.
fn print<T: Serialize>(
    format: Format,
    answer: &T,
    table: impl Fn(&T) -> String,
) -> Result<ExitCode> {
    match format {
        Format::Table => write(table(answer).as_bytes()),
        Format::Json => {
            let json = json::pretty(answer).context("writing JSON")?;
            write((json + "\n").as_bytes())
        }
    }
}

pub fn write(bytes: &[u8]) -> Result<ExitCode> {
    use std::io::Write as _;
    match std::io::stdout().write_all(bytes) {
        // `guestreq vms | head` succeeds.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn policy_commands_parse() {
        for line in [
            "limit show -o json",
            "limit set --vm web --rate 5/s --burst 10",
            "limit set --default --rate 0.5/s",
            "limit set --rate 1/m --default --force",
            "limit set --default --off",
            "limit clear --vm web",
            "policy show",
            "policy allow export import --vm web",
            "policy deny --default unknown",
            "policy mode enforce --vm web --yes",
            "policy clear --default",
            "policy check",
            "policy explain --vm web",
            "policy explain --pid 7 --procfs /host/proc --config a.toml -o json",
            "policy check a.toml b.toml -o json",
            "policy apply a.toml --yes",
            "policy apply --clear",
            "limit suggest --share 50% --vms 20 -o json",
            "condition",
            "condition psp-dead -o json --socket a",
        ] {
            let words = std::iter::once("guestreq").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "policy deny --default",
            "policy allow rep --vm web",
            "policy mode on --default",
            "policy explain",
            "policy explain --vm web --pid 7",
            "policy explain --vm web --config a.toml",
            "policy apply",
            "policy apply a --clear",
            "limit suggest --share 0",
            "limit suggest --vms 0",
            "condition dead",
        ] {
            let words = std::iter::once("guestreq").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).err().map(|error| error.exit_code()), Some(2));
        }
    }
}
