//! # guestreq doctor

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use comfy_table::{Cell, Color, Table, presets};

use super::{Format, print, table, trees::Trees};
use crate::{
    doctor::{self, Checked, Group, Host, Real, Report, State},
    text::printable,
};

/// Check this host's prerequisites and suggest fixes
#[derive(clap::Args)]
#[command(after_help = "\
Changes nothing and needs no agent. Without root, checks that need it are skipped.

Exit status: 1 if a check fails (0 with --exit-zero), else 0; warnings do not count.

Example: sudo guestreq doctor -o json | jq '.checks[] | select(.state == \"fail\")'")]
pub struct Args {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Configuration file [default: /etc/guestreq/config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Exit with status 0 even if checks fail: for an init container
    #[arg(long)]
    exit_zero: bool,
    #[command(flatten)]
    trees: Trees,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let of_this_host =
            [("--config", self.config.is_some()), ("--socket", self.socket.is_some())];
        let system = self.trees.choose_beside(&of_this_host)?;
        let live = Real { config: self.config, socket: self.socket };
        let report = doctor::examine(&Host::new(system.clone(), &live));
        let terminal = io::stdout().is_terminal();
        let code = print(self.output, &report, |report| text(report, terminal))?;
        Ok(if report.failed > 0 && !self.exit_zero { ExitCode::FAILURE } else { code })
    }
}

pub fn text(report: &Report, terminal: bool) -> String {
    let mut text = String::new();
    let mut groups: Vec<Group> = report.checks.iter().map(|check| check.group).collect();
    groups.dedup();
    for group in groups {
        let of_group = report.checks.iter().filter(|check| check.group == group);
        text.push_str(&format!("{}\n{}\n", group.title(), rows(of_group, terminal)));
    }
    let Report { passed, warned, failed, skipped, .. } = report;
    text + &format!(
        "{failed} failed, {warned} warned, {passed} passed, {skipped} skipped \
         (guestreq {}, Linux {})\n",
        report.version,
        printable(&report.kernel)
    )
}

fn rows<'a>(checks: impl Iterator<Item = &'a Checked>, terminal: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // On a terminal its width bounds the last column.
    table::fold(&mut table);
    let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    for check in checks {
        let (symbol, word, color) = match check.state {
            State::Pass => ("✓", "pass", Color::Green),
            State::Warn => ("!", "warn", Color::Yellow),
            State::Fail => ("✗", "FAIL", Color::Red),
            State::Skip => ("-", "skip", Color::DarkGrey),
        };
        let state = Cell::new(if terminal { symbol } else { word });
        let state = if coloured { state.fg(color) } else { state };
        let mut found = printable(&check.why);
        if let Some(fix) = &check.fix {
            found.push_str(&format!("\n-> {}", printable(fix)));
            found.push_str(&format!("\n   {}", check.docs));
        }
        table.add_row([state, Cell::new(check.title), Cell::new(found)]);
    }
    table::text(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(why: &str) -> Report {
        let check = |state, fix: Option<&str>| Checked {
            id: "psp",
            title: "PSP",
            group: Group::Snp,
            state,
            why: why.to_owned(),
            fix: fix.map(str::to_owned),
            docs: "docs/doctor.md#snp-host".to_owned(),
        };
        Report {
            version: "1".to_owned(),
            kernel: "6.12".to_owned(),
            passed: 1,
            warned: 0,
            failed: 1,
            skipped: 0,
            checks: vec![check(State::Pass, None), check(State::Fail, Some("fix it"))],
        }
    }

    #[test]
    fn a_file_gets_words_and_a_terminal_symbols() {
        let lines = text(&report("so"), false);
        let expected = "SNP host\n pass  PSP  so\n FAIL  PSP  so\n            -> fix it\n               \
                        docs/doctor.md#snp-host\n\n\
                        1 failed, 0 warned, 1 passed, 0 skipped (guestreq 1, Linux 6.12)\n";
        assert_eq!(lines, expected);
        assert!(text(&report("so"), true).contains(" ✗ "));
    }

    #[test]
    fn findings_cannot_control_a_terminal() {
        let text = text(&report("\u{1b}[2J\nFAIL"), false);
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J\\nFAIL"), "{text}");
    }
}
