//! Rules, rates and files as people write them, and their results.

use serde::Deserialize;

use super::Rule;
use crate::{config::Config, host};

fn cases<'a, T: Deserialize<'a>>(lines: &'a str) -> Vec<T> {
    let read = |line: &'a str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    lines.lines().map(read).collect()
}

/// Runs `policy check` on a file.
fn check(text: &str) -> crate::config::Checked {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    Config::check(&[file])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfRule {
    id: String,
    source: String,
    /// The text in `match = { … }`.
    rule: String,
    vm: Process,
    matches: bool,
    /// Part of `policy check`'s warning; empty: none.
    warns: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    comm: String,
    cmdline: Vec<String>,
}

#[test]
fn rules_match_the_expected_vms() {
    for OfRule { id, source, rule, vm, matches, warns } in cases(include_str!("cases/rules.jsonl"))
    {
        let vm = host::of_process(&vm.comm, &vm.cmdline);
        let checked = check(&format!("[[vm]]\nmatch = {{ {rule} }}\nmode = \"audit\"\n"));
        assert!(checked.errors.is_empty(), "{id}: {:?}", checked.errors);
        let policy_set = checked.config.unwrap().policy_set(super::Overrides::default());
        let Rule { matches: pattern, .. } = &policy_set.file.rules[0].rule;
        assert_eq!(pattern.matches(&vm), matches, "{id}: {source}: {vm:?}");
        let warnings = policy_set.warnings(super::safety::Service::PUBLISHED).join("\n");
        assert_eq!(warnings.is_empty(), warns.is_empty(), "{id}: {warnings}");
        assert!(warnings.contains(&warns), "{id}: {warnings}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfRate {
    id: String,
    source: String,
    rate: String,
    accepted: bool,
}

#[test]
fn rates_of_other_programs_are_accepted_or_explained() {
    for OfRate { id, source, rate, accepted } in cases(include_str!("cases/rates.jsonl")) {
        let errors = check(&format!("mode = \"audit\"\nlimit = {{ rate = \"{rate}\" }}\n")).errors;
        assert_eq!(errors.is_empty(), accepted, "{id}: {source}: {errors:?}");
        for error in errors {
            let message = error.to_string();
            assert_eq!(error.line, Some(2), "{id}: {message}");
            assert!(message.contains("a number per s, m or h"), "{id}: {message}");
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfFile {
    id: String,
    source: String,
    text: String,
    line: usize,
    column: usize,
}

#[test]
fn a_file_in_another_language_is_an_error_with_its_place() {
    for OfFile { id, source, text, line, column } in cases(include_str!("cases/files.jsonl")) {
        let errors = check(&text).errors;
        let first = errors.first().unwrap_or_else(|| panic!("{id}: {source}: nothing is wrong"));
        assert_eq!((first.line, first.column), (Some(line), Some(column)), "{id}: {first}");
    }
}
