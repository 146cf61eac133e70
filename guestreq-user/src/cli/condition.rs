//! # guestreq condition

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use super::{Format, print, socket, table, write};
use crate::{
    client,
    text::printable,
    wire::{
        conditions::{Condition, Conditions, Subject},
        policy::Named,
        status::Agent,
    },
};

/// Say whether this host is ready and enforces, and whether its PSP is dead
#[derive(clap::Args)]
#[command(after_help = "\
ready: as /readyz. enforcing: a policy's mode is enforce, and enforcement is verified; in other modes there is \
no problem. psp-dead: as the alert GuestreqPspDead.

With CONDITION it prints one line of at most 80 bytes, as Node Problem Detector expects.

Exit status: 0 without a problem, 1 with one, 2 if that is unknown, such as without an agent.

Example: guestreq condition

Example: guestreq condition psp-dead")]
pub struct Args {
    /// ready, enforcing or psp-dead [default: all]
    #[arg(value_name = "CONDITION")]
    condition: Option<Named<Subject>>,
    /// Output format [default: one line with CONDITION, or else a table]
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Copy this program to FILE and do nothing else: for an init container, so that a container
    /// without it can run it
    #[arg(long, value_name = "FILE", exclusive = true)]
    copy_to: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        if let Some(file) = &self.copy_to {
            return copy_to(file);
        }
        let answer = client::get::<Agent>(&socket(self.socket), "/v1/agent");
        let subjects = self.condition.map_or(Subject::ALL.to_vec(), |Named(one)| vec![one]);
        let of = |subject: Subject| match &answer {
            Ok(agent) => subject.of(agent),
            Err(error) => subject.unknown(&format!("{error:#}")),
        };
        let found = Conditions { conditions: subjects.into_iter().map(of).collect() };
        let code = exit_status(&found);
        match (self.output, &found.conditions[..]) {
            (None, [one]) if self.condition.is_some() => write(line(one).as_bytes())?,
            (output, _) => print(output.unwrap_or(Format::Table), &found, text)?,
        };
        Ok(ExitCode::from(code))
    }
}

/// In one step, as the container may run the old one.
fn copy_to(file: &Path) -> Result<ExitCode> {
    let new = file.with_extension("new");
    let copied = fs::copy("/proc/self/exe", &new).and_then(|_| fs::rename(&new, file));
    copied.with_context(|| format!("cannot copy this program to {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The worst of all: a problem, else one that is unknown.
fn exit_status(found: &Conditions) -> u8 {
    let is = |state| found.conditions.iter().any(|of| of.problem == state);
    if is(Some(true)) { 1 } else { u8::from(is(None)) * 2 }
}

/// What Node Problem Detector shows; it cuts off the rest, also within a character.
const MAX_LINE: usize = 80;

fn line(Condition { condition, problem, why }: &Condition) -> String {
    let state = match (condition.0, problem) {
        (_, None) => "unknown",
        (Subject::Ready, Some(false)) => "ready",
        (Subject::Ready, Some(true)) => "not ready",
        (Subject::Enforcing, _) => "",
        (Subject::PspDead, Some(false)) => "PSP alive",
        (Subject::PspDead, Some(true)) => "PSP dead",
    };
    let separator = if state.is_empty() { "" } else { ": " };
    let text = printable(&format!("{state}{separator}{why}"));
    let mut end = text.floor_char_boundary(MAX_LINE - 1);
    if end < text.len() {
        end = text.floor_char_boundary(MAX_LINE - "...\n".len());
    }
    let dots = if end < text.len() { "..." } else { "" };
    format!("{}{dots}\n", &text[..end])
}

/// `ok`, `PROBLEM` or `unknown`
pub fn state(problem: Option<bool>) -> &'static str {
    match problem {
        Some(false) => "ok",
        Some(true) => "PROBLEM",
        None => "unknown",
    }
}

pub fn text(found: &Conditions) -> String {
    let mut table = table::new(&["CONDITION", "STATE", "WHY"], &[]);
    table::fold(&mut table);
    for Condition { condition, problem, why } in &found.conditions {
        table.add_row([condition.to_string(), state(*problem).to_owned(), printable(why)]);
    }
    table::text(&table)
}

#[cfg(test)]
mod npd;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_copies_itself() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("guestreq");
        copy_to(&file).unwrap();
        copy_to(&file).unwrap();
        let copy = fs::metadata(&file).unwrap();
        assert_eq!(copy.len(), fs::metadata("/proc/self/exe").unwrap().len());
        assert_ne!(copy.permissions().mode() & 0o111, 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("none/guestreq");
        let error = format!("{:#}", copy_to(&nowhere).unwrap_err());
        assert!(error.starts_with("cannot copy this program to "), "{error}");
    }

    fn of(condition: Subject, problem: Option<bool>, why: &str) -> Condition {
        Condition { condition: Named(condition), problem, why: why.to_owned() }
    }

    #[test]
    fn the_exit_status_is_that_of_the_worst() {
        let status = |states: &[Option<bool>]| {
            let conditions = states.iter().map(|state| of(Subject::Ready, *state, "")).collect();
            exit_status(&Conditions { conditions })
        };
        assert_eq!(status(&[Some(false), Some(false)]), 0);
        assert_eq!(status(&[Some(false), Some(true), None]), 1);
        assert_eq!(status(&[Some(false), None]), 2);
    }

    #[test]
    fn a_line_is_short_and_printable() {
        let line = |why: &str| line(&of(Subject::Ready, Some(true), why));
        assert_eq!(line("no gate"), "not ready: no gate\n");
        assert_eq!(line("a\n\u{1b}[2J"), "not ready: a\\n\\u{1b}[2J\n");
        assert_eq!(line(&"x".repeat(68)).len(), 80, "complete");
        assert!(!line(&"x".repeat(68)).contains('.'));
        for why in ["x".repeat(69), "ü".repeat(99), "字".repeat(99), format!("x{}", "ü".repeat(99))]
        {
            let line = line(&why);
            assert!((77..=80).contains(&line.len()) && line.ends_with("...\n"), "{line}");
        }
    }

    #[test]
    fn a_table_has_a_row_for_each() {
        let conditions = vec![
            of(Subject::Ready, Some(false), "observing"),
            of(Subject::PspDead, None, "no agent"),
        ];
        assert_eq!(
            text(&Conditions { conditions }),
            " CONDITION  STATE    WHY\n ready      ok       observing\n psp-dead   unknown  no agent\n"
        );
    }
}
