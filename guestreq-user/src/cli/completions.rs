//! # guestreq completions
//!
//! The shell runs this binary, with an environment variable set, for candidates. So verbs and
//! options are the installed version's, and VMs are those running now.

use std::{env, ffi::OsStr, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Command, CommandFactory as _, ValueEnum};
use clap_complete::{
    CompleteEnv, CompletionCandidate,
    engine::ArgValueCompleter,
    env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh},
};

use super::{Cli, socket, write};
use crate::{client, wire::Vms};

/// Names the shell that wants candidates.
const VARIABLE: &str = "GUESTREQ_COMPLETE";
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// In characters; longer names are not offered.
const MAX_NAME: usize = 100;

/// Print a shell script that completes verbs, options and the names of running VMs
#[derive(clap::Args)]
#[command(after_help = "\
Names come from the agent, for users who may open its socket.

Example: guestreq completions bash > /etc/bash_completion.d/guestreq

Example: guestreq completions zsh > /usr/local/share/zsh/site-functions/_guestreq

Example: guestreq completions fish > /etc/fish/completions/guestreq.fish")]
pub struct Args {
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let mut script = Vec::new();
        let name = "guestreq";
        self.shell.completer().write_registration(VARIABLE, name, name, name, &mut script)?;
        write(&script)
    }
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Shell::Bash => &Bash,
            Shell::Elvish => &Elvish,
            Shell::Fish => &Fish,
            Shell::Powershell => &Powershell,
            Shell::Zsh => &Zsh,
        }
    }

    /// Quotes a name as one word of this shell; `None` if that is not safe. The shell runs what it
    /// inserts, and names come from users.
    fn word(self, name: &str) -> Option<String> {
        let plain = |c: char| c.is_alphanumeric() || "-_./".contains(c);
        if name.chars().any(char::is_control) || name.chars().count() > MAX_NAME {
            return None;
        }
        match self {
            // Inserted as it is.
            Shell::Bash => Some(name.chars().fold(String::new(), |mut word, c| {
                if !plain(c) {
                    word.push('\\');
                }
                word.push(c);
                word
            })),
            // These quote what they insert.
            Shell::Zsh | Shell::Fish | Shell::Elvish => Some(name.to_owned()),
            Shell::Powershell => name.chars().all(plain).then(|| name.to_owned()),
        }
    }

    /// The names with the typed prefix, quoted.
    fn complete(self, typed: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let unquoted = match self {
            // Compared as inserted.
            Shell::Bash => typed.to_owned(),
            _ => typed.replace(['\\', '\'', '"'], ""),
        };
        let begins = |word: &String| match self {
            Shell::Bash => word.starts_with(&unquoted),
            _ => word.replace(['\\', '\'', '"'], "").starts_with(&unquoted),
        };
        names.into_iter().filter_map(|name| self.word(&name)).filter(begins).collect()
    }
}

/// Prints candidates and exits if a shell runs this for completion; else returns.
pub fn answer_a_shell() {
    let Some(shell) = env::var(VARIABLE).ok().and_then(|name| Shell::from_str(&name, false).ok())
    else {
        return;
    };
    CompleteEnv::with_factory(move || with_vms(Cli::command(), shell)).var(VARIABLE).complete();
}

/// Completes VM names for every `--vm`.
fn with_vms(command: Command, shell: Shell) -> Command {
    let completer = move |typed: &OsStr| {
        let Some(typed) = typed.to_str() else { return Vec::new() };
        let words = shell.complete(typed, running_vms());
        words.into_iter().map(CompletionCandidate::new).collect()
    };
    command
        .mut_args(|arg| match arg.get_long() {
            Some("vm") => arg.add(ArgValueCompleter::new(completer)),
            _ => arg,
        })
        .mut_subcommands(|verb| with_vms(verb, shell))
}

/// Empty if no agent answers.
fn running_vms() -> Vec<String> {
    let answer = client::get_within(&socket(None), "/v1/vms", ANSWER_TIMEOUT);
    let Ok(Vms { vms, .. }) = answer else { return Vec::new() };
    vms.into_iter().filter(|vm| vm.running).map(|vm| vm.vm).collect()
}

#[cfg(test)]
mod tests;
