//! # guestreq report

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail};

use super::{doctor, events, launches, limit, policy, psp, table, trees::Trees, vms, write};
use crate::{
    report::{self, Options, Tables, collect, is_free, pack, save},
    text::printable,
    wire::events::Time,
};

/// Collect what a bug report needs in one readable .tar.gz
#[derive(clap::Args)]
#[command(after_help = "\
Contains the output of doctor, vms, psp, launches, policy show, limit show, policy explain and events, \
metrics, logs, versions, and copies of those files of /proc and /sys that doctor reads. Names of VMs, \
namespaces, the host and cgroups, and UUIDs, are replaced. Read it before you send it: MANIFEST.md lists \
what is in it, what stays, and what is missing and why. Works without an agent and without root, with less \
in it.

The file's mode is 0600, and no other file is replaced. Its path is printed.

Example: sudo guestreq report

Example: ssh host sudo guestreq report --output - > host.tar.gz")]
pub struct Args {
    /// Where to write it; - is standard output [default: guestreq-report-TIME.tar.gz, in this folder]
    #[arg(long = "output", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Keep names and UUIDs
    #[arg(long)]
    names: bool,
    /// Configuration file [default: /etc/guestreq/config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    trees: Trees,
}

const TABLES: Tables = Tables {
    doctor: |report| table::in_a_file(|| doctor::text(report, false)),
    vms: |answer| table::in_a_file(|| vms::table(answer)),
    psp: |answer| table::in_a_file(|| psp::text(answer)),
    launches: |answer| table::in_a_file(|| launches::table(answer)),
    policy: |answer| table::in_a_file(|| policy::text(answer)),
    limits: |answer| table::in_a_file(|| limit::text(answer)),
    explained: |answer| table::in_a_file(|| policy::explained(answer)),
    events: events::table,
};

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let to_stdout = self.file.as_deref() == Some(Path::new("-"));
        if to_stdout && io::stdout().is_terminal() {
            bail!("standard output is a terminal: redirect it, or give --output FILE");
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (now, seconds) = (Time::at(since), since.as_secs());
        let top = top(now);
        let path = match &self.file {
            Some(path) => path.clone(),
            None => format!("{top}.tar.gz").into(),
        };
        if !to_stdout {
            is_free(&path)?;
        }
        let of_this_host =
            [("--config", self.config.is_some()), ("--socket", self.socket.is_some())];
        let system = self.trees.choose_beside(&of_this_host)?;
        let options = Options { names: self.names, config: self.config, socket: self.socket };
        let contents = collect(system, &options, &TABLES, now)?;
        let bytes = pack(&contents, &top, seconds).context("packing the report")?;
        let code = if to_stdout {
            write(&bytes)?
        } else {
            save(&path, &bytes)?;
            let path = path.display();
            write(format!("{path}\n").as_bytes()).with_context(|| format!("{path} is complete"))?
        };
        if let Some(first) = contents.missing.first() {
            eprintln!("guestreq: {}", printable(&incomplete(first, contents.missing.len())));
        }
        Ok(code)
    }
}

/// The name of the only folder in it.
fn top(now: Time) -> String {
    let time: String = now.to_the_second().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("guestreq-report-{time}")
}

fn incomplete(first: &report::Missing, count: usize) -> String {
    let others = match count - 1 {
        0 => String::new(),
        more => format!(" (and {more} more: see MANIFEST.md in it)"),
    };
    format!("the report has no {}: {}{others}", first.what, first.why)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_report_is_named_after_its_time() {
        let time = Time::at(Duration::from_millis(1_769_860_800_500));
        assert_eq!(top(time), "guestreq-report-20260131T120000Z");
    }

    #[test]
    fn what_is_missing_is_said_in_one_line() {
        let missing = report::Missing { what: "vms".to_owned(), why: "no agent".to_owned() };
        assert_eq!(incomplete(&missing, 1), "the report has no vms: no agent");
        let more = incomplete(&missing, 3);
        assert_eq!(more, "the report has no vms: no agent (and 2 more: see MANIFEST.md in it)");
    }
}
