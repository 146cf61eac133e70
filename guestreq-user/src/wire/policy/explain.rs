//! # Results of a VM's rules

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{Limit, Named, Source, Types, Weight};

/// A rule's result for a VM.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RuleResult {
    /// From 1, in the file's order of evaluation.
    pub rule: usize,
    #[serde(flatten)]
    pub at: Source,
    /// From the applied policy file, whose rules are evaluated first.
    pub applied: bool,
    /// Its patterns.
    #[serde(rename = "match")]
    pub matches: String,
    /// Whether the VM matches.
    pub matched: bool,
    /// Why it does not match; null if it does.
    pub why: Option<String>,
    /// Its settings.
    pub sets: Sets,
    /// Those in effect, of `mode`, `allow`, `limit` and `weight`: overrides and earlier rules take
    /// precedence.
    pub holds: Vec<String>,
}

/// A rule's settings; null if not set.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sets {
    pub mode: Option<Named<Mode>>,
    pub allow: Option<Types>,
    pub limit: Option<Limit>,
    pub weight: Option<Weight>,
}
