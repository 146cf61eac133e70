//! # Answers of several nodes as one table
//!
//! The agent's command line prints JSON; its types and rows are those of a single host's tables.

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::verb::{self, Verb};
use crate::{
    cli::{launches, limit, policy, vms},
    json,
    wire::{Psp, Vms, conditions::Conditions, launches::Launches, policy::Policies},
};
use summaries::{conditions, doctor, psp};

mod summaries;

/// A verb whose answers can be merged.
pub struct View {
    pub verb: &'static str,
    /// Without the node.
    pub header: &'static [&'static str],
    /// Right-aligned columns.
    right: &'static [usize],
    rows: fn(&Value) -> Result<Rows>,
    /// The key with the VMs, if each row is one.
    vms: Option<&'static str>,
}

/// What a node's answer adds.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    pub rows: Vec<Vec<String>>,
    /// Lines below the table.
    pub remarks: Vec<String>,
}

static VIEWS: [View; 7] = [
    View {
        verb: "vms",
        header: &vms::HEADER,
        right: &vms::RIGHT,
        rows: |answer| Ok(rows(parsed::<Vms>(answer)?.vms.iter().map(vms::row))),
        vms: Some("vms"),
    },
    View {
        verb: "launches",
        header: &launches::HEADER,
        right: &launches::RIGHT,
        rows: |answer| Ok(rows(parsed::<Launches>(answer)?.launches.iter().map(launches::row))),
        vms: Some("launches"),
    },
    View {
        verb: "psp",
        header: &psp::HEADER,
        right: &psp::RIGHT,
        rows: |answer| Ok(psp::rows(&parsed::<Psp>(answer)?)),
        vms: None,
    },
    View {
        verb: "condition",
        header: &conditions::HEADER,
        right: &[],
        rows: |answer| Ok(conditions::rows(&parsed::<Conditions>(answer)?)),
        vms: None,
    },
    View {
        verb: "doctor",
        header: &doctor::HEADER,
        right: &[],
        rows: |answer| Ok(doctor::rows(&parsed(answer)?)),
        vms: None,
    },
    View {
        verb: "policy show",
        header: &policy::HEADER,
        right: &[],
        rows: |answer| {
            let policies: Policies = parsed(answer)?;
            let remarks = policy::remarks(&policies);
            Ok(Rows { remarks, ..rows(policy::rows(&policies)) })
        },
        vms: None,
    },
    View {
        verb: "limit show",
        header: &limit::HEADER,
        right: &[],
        rows: |answer| Ok(rows(limit::rows(&parsed::<Policies>(answer)?))),
        vms: None,
    },
];

/// A view's answer in the requested format.
pub struct Command {
    /// With `-o json`, for the agents.
    pub words: Vec<String>,
    /// What the user wants.
    pub json: bool,
}

impl View {
    /// The view of a verb, or why all nodes cannot be asked for it.
    pub fn of(verb: &Verb) -> Result<&'static View> {
        if let Some(view) = VIEWS.iter().find(|view| view.verb == verb.name) {
            return Ok(view);
        }
        if verb.changes() {
            bail!(
                "{verb} changes policy, which is refused on all nodes at once: each node would keep an \
                 override of its own. Change the DaemonSet's config.toml, or one node with --node"
            );
        }
        let all: Vec<&str> = View::verbs().collect();
        bail!("{verb} is for one node: --node NODE. All nodes can be asked for {}", all.join(", "))
    }

    /// Of all views.
    pub fn verbs() -> impl Iterator<Item = &'static str> {
        VIEWS.iter().map(|view| view.verb)
    }

    /// The view of a verb whose rows are VMs.
    pub fn with_vms(verb: &Verb) -> Option<&'static View> {
        VIEWS.iter().find(|view| view.verb == verb.name && view.vms.is_some())
    }

    /// Checks a command and makes it print JSON.
    pub fn command(&self, words: &[String]) -> Result<Command> {
        verb::check(words).unwrap_or_else(|error| error.exit());
        let (mut kept, mut json) = (Vec::new(), false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let format = match word.as_str() {
                "-o" | "--output" => words.next().cloned(),
                word => ["--output=", "-o="]
                    .iter()
                    .find_map(|option| word.strip_prefix(option))
                    .or_else(|| word.strip_prefix("-o"))
                    .map(str::to_owned),
            };
            match format {
                Some(format) => json = format == "json",
                None => kept.push(word.clone()),
            }
        }
        kept.extend(["--output", "json"].map(str::to_owned));
        Ok(Command { words: kept, json })
    }

    /// A node's rows.
    pub fn rows(&self, answer: &Value) -> Result<Rows> {
        (self.rows)(answer)
    }

    /// The columns that are right-aligned, after that of the node.
    pub fn right(&self) -> Vec<usize> {
        self.right.iter().map(|column| column + 1).collect()
    }

    /// Leaves only the VM in an answer.
    pub fn keep_vm(&self, answer: &mut Value, vm: &str) {
        let Some(list) = self.vms.and_then(|key| answer.get_mut(key)) else { return };
        if let Some(list) = list.as_array_mut() {
            list.retain(|of| of["vm"] == vm);
        }
    }
}

fn rows(rows: impl IntoIterator<Item = Vec<String>>) -> Rows {
    Rows { rows: rows.into_iter().collect(), remarks: Vec::new() }
}

fn parsed<T: DeserializeOwned>(answer: &Value) -> Result<T> {
    json::from_value(answer).context("its agent answers in another format: is it of this version?")
}

#[cfg(test)]
mod tests;
