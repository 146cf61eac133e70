//! # Running a command in one pod
//!
//! kubectl takes this process' place: its input, output, signals and exit status are the command's.

use std::{
    io::{self, IsTerminal as _},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::Result;

use super::{
    pods::Pod,
    process::{Kubectl, not_run},
};
use crate::config::STDIN;

pub fn through(kubectl: &Kubectl, pod: &Pod, command: &[String]) -> Result<ExitCode> {
    let words = kubectl.exec_words(&pod.name, terminal(command), command);
    let error = Command::new(Kubectl::PROGRAM).args(words).exec();
    Err(not_run(&error).into())
}

/// A terminal, if there is one, so that the command ends with it. Else only a command that reads its
/// input gets that: a loop of a shell may read from the same.
fn terminal(command: &[String]) -> &'static [&'static str] {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return &["--stdin", "--tty"];
    }
    match command.iter().any(|word| word == STDIN) {
        true => &["--stdin"],
        false => &[],
    }
}
