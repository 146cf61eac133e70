//! # Which rules were tried for a VM

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{Limit, Named, Source, Types};

/// A rule that was tried for a VM.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RuleResult {
    /// Counted from 1, in the order in which its file's are tried.
    pub rule: usize,
    #[serde(flatten)]
    pub at: Source,
    /// Of the file that `guestreq policy apply` was given; its rules are tried first.
    pub applied: bool,
    /// What it asks of a VM.
    #[serde(rename = "match")]
    pub matches: String,
    /// It is so.
    pub matched: bool,
    /// Why it is not; null where it is.
    pub why: Option<String>,
    /// What it sets.
    pub sets: Sets,
    /// Which of that holds, by `mode`, `allow` and `limit`: for the rest an override or a rule
    /// before it has set something.
    pub holds: Vec<String>,
}

/// What a rule sets; null where it leaves it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sets {
    pub mode: Option<Named<Mode>>,
    pub allow: Option<Types>,
    pub limit: Option<Limit>,
}
