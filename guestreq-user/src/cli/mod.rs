//! # The command line
//!
//! One file per verb.

mod agent;
mod psp;
mod table;
mod vms;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use serde::{Serialize, de::DeserializeOwned};

use crate::{api::client, config::Config};

/// Who asks an SNP host's secure processor (PSP) for what, and how long it takes
#[derive(Parser)]
#[command(name = "guestreq", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Agent(agent::Args),
    Vms(vms::Args),
    Psp(psp::Args),
}

impl Cli {
    pub fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Agent(args) => args.run(),
            Verb::Vms(args) => args.run(),
            Verb::Psp(args) => args.run(),
        }
    }
}

/// What every reading verb takes.
#[derive(clap::Args)]
struct Reading {
    /// A table for people, or JSON for programs
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Reading {
    /// Asks the agent.
    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        match &self.socket {
            Some(socket) => client::get(socket, path),
            // A configuration that cannot be read, or is wrong, is the agent's to complain of.
            None => client::get(&Config::load(None).unwrap_or_default().socket, path),
        }
    }

    /// Prints an answer as it was asked for.
    fn print<T: Serialize>(&self, answer: &T, table: fn(&T) -> String) -> Result<ExitCode> {
        let text = match self.output {
            Format::Table => table(answer),
            Format::Json => serde_json::to_string_pretty(answer).context("writing JSON")? + "\n",
        };
        use std::io::Write as _;
        match std::io::stdout().write_all(text.as_bytes()) {
            // `guestreq vms | head` is no failure.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(error).context("writing to standard output")
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}
