//! # Reports for bug reports
//!
//! `guestreq report` collects what a maintainer would ask for. Names are replaced in answers before
//! tables are made of them, so that no table can have one. docs/report.md says what is in it.

mod answers;
mod archive;
mod collect;
mod facts;
mod gather;
mod logs;
mod manifest;
mod policy;
mod processes;
mod pseudonyms;
mod reduced;
mod tree;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

pub use archive::{is_free, pack, save};
pub use collect::collect;
#[cfg(test)]
pub use tree::Tree;

use crate::{
    doctor, json,
    text::printable,
    wire::{Psp, Vms, events::Event, explain::Explained, launches::Launches, policy::Policies},
};

/// What was asked for.
pub struct Options {
    /// Keep the names of VMs.
    pub names: bool,
    pub config: Option<PathBuf>,
    pub socket: Option<PathBuf>,
}

/// Text of answers, as the command line prints it.
pub struct Tables {
    pub doctor: fn(&doctor::Report) -> String,
    pub vms: fn(&Vms) -> String,
    pub psp: fn(&Psp) -> String,
    pub launches: fn(&Launches) -> String,
    pub policy: fn(&Policies) -> String,
    pub limits: fn(&Policies) -> String,
    pub explained: fn(Explained) -> String,
    pub events: fn(&[Event]) -> String,
}

/// What is not here, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub what: String,
    pub why: String,
}

impl Missing {
    fn new(what: impl Into<String>, why: impl Into<String>) -> Missing {
        Missing { what: what.into(), why: printable(&why.into()) }
    }
}

/// All files of a report.
#[derive(Default)]
pub struct Contents {
    /// By path; `None` is a folder.
    pub files: BTreeMap<String, Option<Vec<u8>>>,
    about: BTreeMap<String, String>,
    pub missing: Vec<Missing>,
    cut: Vec<Missing>,
    bytes: usize,
}

/// All files together, before they are compressed.
const MAX_BYTES: usize = 64 << 20;

impl Contents {
    pub fn add(&mut self, path: &str, about: &str, bytes: Vec<u8>) {
        if self.bytes + bytes.len() > MAX_BYTES {
            let why = format!("the report would have more than {} MiB", MAX_BYTES >> 20);
            self.missing.push(Missing::new(path, why));
            return;
        }
        self.bytes += bytes.len();
        self.about.insert(path.to_owned(), about.to_owned());
        self.files.insert(path.to_owned(), Some(bytes));
    }

    fn add_json(&mut self, path: &str, about: &str, value: &Value) -> Result<()> {
        let json = json::pretty(value).with_context(|| path.to_owned())?;
        self.add(path, about, (json + "\n").into());
        Ok(())
    }

    fn miss(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.missing.push(Missing::new(what, why));
    }

    fn cut(&mut self, what: &str, to: String) {
        self.cut.push(Missing::new(what, to));
    }
}
