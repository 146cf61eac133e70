//! # Policy files
//!
//! Settings for all VMs and `[[vm]]` rules for some, with their lines. The configuration's files
//! are merged into one; the file of `policy apply` is another.

use std::fmt;

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{Limit, Named, Rule, Types, Weight};

/// A line of a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Its path.
    pub file: String,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A file's value and its line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Located<T> {
    pub value: T,
    #[serde(flatten)]
    pub at: Source,
}

/// A `[[vm]]` table and its first line.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Located<Weight>>,
    /// In the order in which they are evaluated.
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
            self.mode.as_ref().map(|located| &located.at),
            self.allow.as_ref().map(|located| &located.at),
            self.limit.as_ref().map(|located| &located.at),
            self.weight.as_ref().map(|located| &located.at),
        ];
        let rules = self.rules.iter().map(|rule| &rule.at);
        top.into_iter().flatten().chain(rules).next().map(|at| at.file.as_str())
    }

    /// Merges with an earlier file: keys of this one replace the earlier one's, and rules of this
    /// one are evaluated first.
    pub fn over(mut self, earlier: PolicyFile) -> PolicyFile {
        self.rules.extend(earlier.rules);
        PolicyFile {
            mode: self.mode.or(earlier.mode),
            allow: self.allow.or(earlier.allow),
            limit: self.limit.or(earlier.limit),
            weight: self.weight.or(earlier.weight),
            rules: self.rules,
        }
    }

    /// Every limit and its line.
    pub fn limits(&self) -> impl Iterator<Item = (Limit, &Source)> {
        let top = self.limit.iter().map(|located| (located.value, &located.at));
        top.chain(self.rules.iter().filter_map(|rule| Some((rule.rule.limit?, &rule.at))))
    }

    /// Whether any VM may get another weight than the default.
    pub fn has_weights(&self) -> bool {
        self.weights().any(|(weight, _)| !weight.is_default())
    }

    /// Every weight and its line.
    pub fn weights(&self) -> impl Iterator<Item = (Weight, &Source)> {
        let top = self.weight.iter().map(|located| (located.value, &located.at));
        top.chain(self.rules.iter().filter_map(|rule| Some((rule.rule.weight?, &rule.at))))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_policy_file_knows_the_path_of_its_first_value() {
        let file = |text: &str| Config::parse(text).unwrap().policy.file().map(str::to_owned);
        for text in [
            "allow = []",
            "limit = \"off\"",
            "weight = 4",
            "[[vm]]\nmatch = { name = \"web\" }\nallow = []",
        ] {
            assert_eq!(file(text).as_deref(), Some("config.toml"), "{text}");
        }
        assert_eq!(file("max_vms = 7"), None, "it has no policy");
    }
}
