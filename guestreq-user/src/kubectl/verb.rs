//! # The agent's verbs, as far as the plugin knows them
//!
//! From the command line of the same version. An agent may know others.

use std::fmt;

use clap::{Command, CommandFactory as _, Parser as _, error::ErrorKind};

use crate::{cli::Cli, text::printable};

/// A verb of the agent's command line.
pub struct Verb {
    /// `limit set`
    pub name: String,
    command: Option<Command>,
}

impl Verb {
    pub fn of(words: &[String]) -> Verb {
        let mut command = Cli::command();
        let mut names = Vec::new();
        for word in words.iter().filter(|word| !word.starts_with('-')) {
            let Some(next) = command.find_subcommand(word).cloned() else { break };
            names.push(next.get_name().to_owned());
            command = next;
        }
        let known = !names.is_empty();
        let first = || words.first().cloned().unwrap_or_default();
        Verb {
            name: if known { names.join(" ") } else { first() },
            command: known.then_some(command),
        }
    }

    pub fn is_known(&self) -> bool {
        self.command.is_some()
    }

    /// Whether it has this option.
    pub fn takes(&self, long: &str) -> bool {
        let mut all = self.command.iter().flat_map(Command::get_arguments);
        all.any(|arg| arg.get_long() == Some(long))
    }

    /// Whether it changes a policy.
    pub fn changes(&self) -> bool {
        self.takes("default") || self.takes("clear")
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.name))
    }
}

/// Checks a command before it is sent to many nodes.
pub fn check(words: &[String]) -> Result<(), clap::Error> {
    Cli::try_parse_from(with_name(words)).map(drop)
}

/// Prints the help of a command and exits, if that is wanted.
pub fn answer_help(words: &[String]) {
    if let Err(error) = check(words)
        && matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
    {
        error.exit();
    }
}

fn with_name(words: &[String]) -> impl Iterator<Item = &str> {
    std::iter::once("kubectl guestreq").chain(words.iter().map(String::as_str))
}
