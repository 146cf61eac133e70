//! # guestreq policy check

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use serde::Serialize;

use crate::{
    cli::{Format, print, table},
    config::{Checked, Config, Files, OrderSwitch, Wrong},
    policy::{Effective, LocatedRule, Overrides, PolicySet, safety::Service},
    text::printable,
};

/// Check configuration files without an agent, and show the resulting policy
#[derive(clap::Args)]
#[command(after_help = "\
Later files override earlier ones, as in conf.d. Exit status: 0 if all files are valid, else 1.

Example: guestreq policy check /etc/guestreq/config.toml new-rule.toml")]
pub struct Args {
    /// Files in order [default: the configuration and its conf.d]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `guestreq policy check -o json`
#[derive(Serialize)]
struct CheckReport {
    /// In the order in which they were read.
    files: Vec<String>,
    /// There are no errors.
    valid: bool,
    errors: Vec<Wrong>,
    /// Valid, but possibly not intended.
    warnings: Vec<String>,
    /// For VMs that no rule sets.
    default: Option<Effective>,
    /// In the order in which they are evaluated.
    rules: Vec<LocatedRule>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let files = if self.files.is_empty() { Files::of(None).paths()? } else { self.files };
        let report = CheckReport::of(Config::check(&files), &files);
        print(self.output, &report, text)?;
        Ok(if report.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl CheckReport {
    fn of(Checked { config, errors }: Checked, files: &[PathBuf]) -> CheckReport {
        let order_off = config.as_ref().and_then(Config::order) == Some(OrderSwitch::Off);
        let policy_set = config.map(|config| config.policy_set(Overrides::default()));
        let without_order = order_off && policy_set.as_ref().is_some_and(PolicySet::has_weights);
        let mut warnings = policy_set
            .as_ref()
            .map_or_else(Vec::new, |policy_set| policy_set.warnings(Service::PUBLISHED));
        if without_order {
            warnings.push("weights have no effect: order is \"off\"".to_owned());
        }
        CheckReport {
            files: files.iter().map(|path| path.display().to_string()).collect(),
            valid: errors.is_empty(),
            errors,
            warnings,
            default: policy_set.as_ref().map(|policy_set| policy_set.default()),
            rules: policy_set.map_or_else(Vec::new, |policy_set| policy_set.file.rules),
        }
    }
}

fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for error in &report.errors {
        text.push_str(&format!("{}\n", printable(&error.to_string())));
    }
    for warning in &report.warnings {
        text.push_str(&format!("warning: {}\n", printable(warning)));
    }
    let Some(default) = report.default.as_ref().filter(|_| report.valid) else { return text };
    let mut table = table::new(&["VM", "MODE", "ALLOW", "LIMIT", "WEIGHT", "FROM"], &[]);
    table.add_row([
        "(default)".to_owned(),
        default.mode.value.to_string(),
        default.allow.value.to_string(),
        default.limit.value.to_string(),
        default.weight.value.to_string(),
        printable(&origins(default)),
    ]);
    for LocatedRule { rule, at } in &report.rules {
        fn or_dash<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        }
        table.add_row([
            printable(&rule.matches.to_string()),
            or_dash(rule.mode),
            or_dash(rule.allow),
            or_dash(rule.limit),
            or_dash(rule.weight),
            printable(&at.to_string()),
        ]);
    }
    text + &table::text(&table)
}

/// Each origin once.
fn origins(default: &Effective) -> String {
    let Effective { mode, allow, limit, weight } = default;
    let mut origins = Vec::new();
    let each = [&mode.origin, &allow.origin, &limit.origin, &weight.origin];
    for origin in each.map(ToString::to_string) {
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    origins.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(texts: &[&str]) -> CheckReport {
        let folder = tempfile::tempdir().unwrap();
        let name = |i: usize| folder.path().join(format!("{i}.toml"));
        for (i, text) in texts.iter().enumerate() {
            std::fs::write(name(i), text).unwrap();
        }
        let files: Vec<_> = (0..texts.len()).map(name).collect();
        CheckReport::of(Config::check(&files), &files)
    }

    #[test]
    fn valid_files_are_shown_as_they_were_parsed() {
        let report = report(&[
            "mode = \"audit\"\nlimit = { rate = \"5/s\" }\n",
            "mode = \"enforce\"\n[[vm]]\nmatch = { name = \"w*\" }\nallow = []\n",
        ]);
        let text = text(&report);
        let lines: Vec<_> = text.lines().collect();
        assert!(report.valid && lines.len() == 4, "{text}");
        assert!(lines[0].contains("Secure TSC cannot boot"), "{text}");
        assert!(lines[2].contains("enforce  key, report, tsc_info  5/s, burst 5"), "{text}");
        assert!(
            lines[2].contains("1.toml:1, default, ") && lines[2].ends_with("0.toml:2"),
            "{text}"
        );
        assert!(lines[3].contains("name = \"w*\"  -        nothing"), "{text}");
    }

    #[test]
    fn weights_without_the_order_are_warned_of() {
        let warnings = |text| report(&[text]).warnings;
        let without = warnings("order = \"off\"\nweight = 4");
        assert_eq!(without, ["weights have no effect: order is \"off\""]);
        for text in ["order = \"on\"\nweight = 4", "order = \"off\"", "weight = 4"] {
            assert_eq!(warnings(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn all_errors_of_all_files_are_reported() {
        let report = report(&["mode = 1\nlimits = 1\n", "[[vm]]\n", "max_vms = 3\n"]);
        let text = text(&report);
        let lines: Vec<_> = text.lines().collect();
        assert!(!report.valid && lines.len() == 3, "{text}");
        assert!(lines[0].contains("0.toml: line 1, column 8: "), "{text}");
        assert!(lines[1].contains("0.toml: line 2, column 1: "), "{text}");
        assert!(lines[2].contains("1.toml: line 1, column 1: missing field `match`"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["errors"][1]["line"], 2);
        let contradiction = super::tests::report(&["backend = \"none\"", "\nmode = \"enforce\""]);
        assert_eq!(contradiction.errors[0].line, Some(2));
        let no_file = CheckReport::of(Config::check(&["/nonexistent/x".into()]), &[]);
        assert_eq!((no_file.valid, no_file.errors[0].line), (false, None));
    }
}
