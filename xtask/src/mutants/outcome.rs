//! # What became of mutants, and whether the list says so

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::listed::{PAGE, Row};

/// A change of the code.
#[derive(Debug, PartialEq, Eq)]
pub struct Mutant {
    /// With its place, `file:line:column: what is changed`: no two have the same.
    pub name: String,
    /// As a list names it.
    pub row: Row,
}

impl Mutant {
    pub fn file(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }
}

/// As cargo-mutants calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Outcome {
    #[serde(rename = "CaughtMutant")]
    Caught,
    #[serde(rename = "MissedMutant")]
    Missed,
    /// A test that does not come to an end is one that fails.
    Timeout,
    /// It does not compile.
    Unviable,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    file: String,
    span: Span,
}

#[derive(Deserialize)]
struct Span {
    start: Start,
}

#[derive(Deserialize)]
struct Start {
    line: usize,
    column: usize,
}

/// From `cargo mutants --list --json`, and the files as they are now.
pub fn mutants(json: &str, text: impl Fn(&str) -> Result<String>) -> Result<Vec<Mutant>> {
    let mut texts = HashMap::new();
    let mut mutants = Vec::new();
    for Named { name, file, span } in serde_json::from_str::<Vec<Named>>(json)? {
        if !texts.contains_key(&file) {
            texts.insert(file.clone(), text(&file)?);
        }
        let Start { line, column } = span.start;
        let text = texts[&file].lines().nth(line - 1).unwrap_or_default().trim().to_owned();
        let placeless = name.replacen(&format!(":{line}:{column}: "), ": ", 1);
        mutants.push(Mutant { name, row: Row { name: placeless, line: text } });
    }
    Ok(mutants)
}

/// From outcomes.json of cargo-mutants.
pub fn outcomes<'a>(json: &str, all: &'a [Mutant]) -> Result<Vec<(&'a Mutant, Outcome)>> {
    #[derive(Deserialize)]
    struct File {
        outcomes: Vec<Scenario>,
    }
    #[derive(Deserialize)]
    struct Scenario {
        scenario: Value,
        summary: Value,
    }
    let mut outcomes = Vec::new();
    for Scenario { scenario, summary } in serde_json::from_str::<File>(json)?.outcomes {
        // The other scenario is the unchanged tree.
        let Some(name) = scenario["Mutant"]["name"].as_str() else { continue };
        let mutant = all.iter().find(|mutant| mutant.name == name);
        let mutant = mutant.with_context(|| format!("the code has changed meanwhile: {name}"))?;
        outcomes.push((mutant, Outcome::deserialize(summary)?));
    }
    Ok(outcomes)
}

/// Counts, in words.
pub fn tally(outcomes: impl Iterator<Item = Outcome>) -> String {
    let (mut caught, mut missed, mut timeout, mut unviable) = (0, 0, 0, 0);
    for outcome in outcomes {
        *match outcome {
            Outcome::Caught => &mut caught,
            Outcome::Missed => &mut missed,
            Outcome::Timeout => &mut timeout,
            Outcome::Unviable => &mut unviable,
        } += 1;
    }
    format!(
        "{} mutants: {caught} caught, {timeout} timed out, {missed} survive, \
         {unviable} do not compile",
        caught + missed + timeout + unviable
    )
}

/// A line for each survivor that is not listed, and for each listed one that does not survive or
/// does not exist.
pub fn compare<'a>(
    all: &[Mutant],
    outcomes: &[(&Mutant, Outcome)],
    listed: impl Iterator<Item = &'a Row>,
) -> Vec<String> {
    let listed: Vec<_> = listed.collect();
    let mut wrong = Vec::new();
    for (mutant, outcome) in outcomes {
        if *outcome == Outcome::Missed && !listed.contains(&&mutant.row) {
            wrong.push(format!("survives: {}", mutant.name));
        }
    }
    for row in listed {
        let of_row = outcomes.iter().filter(|(mutant, _)| mutant.row == *row);
        let now: Vec<_> = of_row.map(|(_, outcome)| *outcome).collect();
        let what = if !all.iter().any(|mutant| mutant.row == *row) {
            "what is no mutant"
        } else if !now.is_empty() && !now.contains(&Outcome::Missed) {
            "what a test notices"
        } else {
            continue;
        };
        wrong.push(format!("{PAGE} lists {what}: {} in `{}`", row.name, row.line));
    }
    wrong
}

#[cfg(test)]
mod tests;
