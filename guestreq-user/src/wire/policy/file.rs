//! # What files say of VMs
//!
//! Settings for all VMs, `[[vm]]` rules for some, and where each stands. The
//! configuration's files come to one policy file; a file that `policy apply` was given is
//! another.

use std::fmt;

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{Limit, Named, Rule, Types};

/// A line of a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Its path.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a file says, and where.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Located<T> {
    pub value: T,
    #[serde(flatten)]
    pub at: Source,
}

/// A `[[vm]]` table, and where it begins.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LocatedRule {
    #[serde(flatten)]
    pub rule: Rule,
    #[serde(flatten)]
    pub at: Source,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Located<Named<Mode>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Located<Types>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Located<Limit>>,
    /// In the order in which they are tried.
    #[serde(default)]
    pub rules: Vec<LocatedRule>,
}

impl PolicyFile {
    pub fn is_empty(&self) -> bool {
        *self == PolicyFile::default()
    }

    /// The file of its first value.
    pub fn file(&self) -> Option<&str> {
        let top = [
            self.mode.as_ref().map(|said| &said.at),
            self.allow.as_ref().map(|said| &said.at),
            self.limit.as_ref().map(|said| &said.at),
        ];
        let rules = self.rules.iter().map(|placed| &placed.at);
        top.into_iter().flatten().chain(rules).next().map(|at| at.file.as_str())
    }

    /// What holds of two files, of which this is the later one: its keys replace the earlier
    /// one's, and its rules are tried first.
    pub fn over(mut self, earlier: PolicyFile) -> PolicyFile {
        self.rules.extend(earlier.rules);
        PolicyFile {
            mode: self.mode.or(earlier.mode),
            allow: self.allow.or(earlier.allow),
            limit: self.limit.or(earlier.limit),
            rules: self.rules,
        }
    }

    /// Every limit that it sets, and for whom.
    pub fn limits(&self) -> impl Iterator<Item = (Limit, &Source)> {
        let top = self.limit.iter().map(|said| (said.value, &said.at));
        top.chain(self.rules.iter().filter_map(|placed| Some((placed.rule.limit?, &placed.at))))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_sheet_is_known_by_the_file_of_what_it_says_whatever_that_is() {
        let file = |text: &str| Config::parse(text).unwrap().policy.file().map(str::to_owned);
        for text in
            ["allow = []", "limit = \"off\"", "[[vm]]\nmatch = { name = \"web\" }\nallow = []"]
        {
            assert_eq!(file(text).as_deref(), Some("config.toml"), "{text}");
        }
        assert_eq!(file("max_vms = 7"), None, "it says nothing of policies");
    }
}
