//! # Policy: which rules hold for which VM
//!
//! For each of mode, allowed types and limit, the first of these that says something:
//!
//! 1. the command line's override for the VM,
//! 2. the first `[[vm]]` rule that matches the VM and sets it, of the file that was
//!    applied by the command line,
//! 3. the same of the configuration,
//! 4. the command line's override of the default,
//! 5. the top level of the file that was applied,
//! 6. the top level of the configuration,
//! 7. what is built in: audit; report, key and tsc_info; no limit.
//!
//! So what is said of a VM goes before what is said of all, and what was said by
//! hand before what a file says. Knows neither the agent nor the command line.

mod book;
#[cfg(test)]
mod cases;
mod change;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod glob;
mod limit;
mod names;
mod naming;
mod overrides;
mod rate;
pub mod refusals;
mod replace;
mod rules;
mod sheet;
mod store;

use std::fmt;

use guestreq_common::policy::{Allowed, Mode, Policy, Rules};
use serde::{Deserialize, Serialize};

pub use book::Book;
pub use change::{Change, Plan, Refusal, Request, Seen, Target};
pub use explain::Tried;
pub use glob::Glob;
pub use limit::{Limit, Throttle, default_burst};
pub use names::{Named, Types};
pub use naming::{Candidate, find, instead, quoted};
pub use overrides::{Applied, Override, Overrides, Set, Stamp, key_of};
pub use rate::Rate;
pub use replace::{Apply, Difference, Replacement, describe};
pub use rules::{FileLimit, FileRule, Rule};
pub use sheet::{Placed, Said, Sheet, Source};
pub use store::Store;

/// What holds for a VM, or for those of which nothing is said, and who says so.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Effective {
    pub mode: Setting<Named<Mode>>,
    pub allow: Setting<Types>,
    pub limit: Setting<Limit>,
}

/// A value, and who says so.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Setting<T> {
    /// What holds.
    pub value: T,
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// A file of the configuration: its top level, or a rule.
    Config {
        #[serde(flatten)]
        at: Source,
        /// In the order in which they are tried, counted from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<usize>,
        #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
        matches: Option<String>,
    },
    /// The same of a file that the command line has applied.
    Applied {
        #[serde(flatten)]
        at: Source,
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<usize>,
        #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
        matches: Option<String>,
        #[serde(flatten)]
        stamp: Stamp,
    },
    /// The command line.
    Override {
        of: Level,
        #[serde(flatten)]
        stamp: Stamp,
    },
}

/// What an override is for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Default,
    Vm,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Config { at, matches: Some(matches), .. } => write!(f, "{at} ({matches})"),
            Origin::Config { at, .. } => write!(f, "{at}"),
            Origin::Applied { at, matches, stamp: Stamp { uid, at: when }, .. } => {
                let matches = matches.as_ref().map(|text| format!("{text}; ")).unwrap_or_default();
                write!(f, "applied {at} ({matches}uid {uid}, {when})")
            }
            Origin::Override { of, stamp: Stamp { uid, at } } => {
                let of = if *of == Level::Default { " of the default" } else { "" };
                write!(f, "override{of} (uid {uid}, {at})")
            }
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Effective { mode, allow, limit } = self;
        write!(f, "mode {}, allow {}, limit {}", mode.value, allow.value, limit.value)
    }
}

impl Effective {
    pub fn built_in() -> Effective {
        fn setting<T>(value: T) -> Setting<T> {
            Setting { value, origin: Origin::Default }
        }
        Effective {
            mode: setting(Named(Mode::Audit)),
            allow: setting(Types(Allowed::DEFAULT)),
            limit: setting(Limit::Off),
        }
    }

    /// Whether the same holds, whoever says it.
    pub fn says_the_same(&self, other: &Effective) -> bool {
        let values = |of: &Effective| (of.mode.value, of.allow.value, of.limit.value);
        values(self) == values(other)
    }

    /// As the kernel reads it, for the VM that has its slot in this generation.
    pub fn to_policy(&self, generation: u32) -> Policy {
        let rules = Rules::new(self.mode.value.0, self.allow.value.0, generation);
        Policy::new(rules, self.limit.value.to_gcra())
    }
}
