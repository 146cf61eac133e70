//! # Effective settings and their origins

use std::fmt;

use guestreq_common::policy::{Allowed, Mode, Policy, Rules};
use serde::{Deserialize, Serialize};

use super::{Limit, Named, Source, Types, Weight};

/// The effective settings of a VM, or the default.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Effective {
    pub mode: Setting<Named<Mode>>,
    pub allow: Setting<Types>,
    pub limit: Setting<Limit>,
    #[serde(default)]
    pub weight: Setting<Weight>,
}

/// A value and its origin.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Setting<T> {
    /// The effective value.
    pub value: T,
    pub origin: Origin,
}

impl<T: Default> Default for Setting<T> {
    fn default() -> Setting<T> {
        Setting { value: T::default(), origin: Origin::Default }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// A configuration file: its top level, or a rule.
    Config {
        #[serde(flatten)]
        at: Source,
        /// From 1, in the order of evaluation.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<usize>,
        #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
        matches: Option<String>,
    },
    /// The applied policy file: its top level, or a rule.
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
    /// An override.
    Override {
        of: Level,
        #[serde(flatten)]
        stamp: Stamp,
    },
}

/// What an override applies to.
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
        let Effective { mode, allow, .. } = self;
        write!(f, "mode {}, allow {}, {}", mode.value, allow.value, self.limit_and_weight())
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
            weight: Setting::default(),
        }
    }

    /// What `limit set` sets. A weight that changes nothing is not mentioned.
    pub fn limit_and_weight(&self) -> String {
        let (limit, weight) = (self.limit.value, self.weight.value);
        match weight.is_default() {
            true => format!("limit {limit}"),
            false => format!("limit {limit}, weight {weight}"),
        }
    }

    /// Compares values, not origins.
    pub fn has_same_values(&self, other: &Effective) -> bool {
        let values =
            |of: &Effective| (of.mode.value, of.allow.value, of.limit.value, of.weight.value);
        values(self) == values(other)
    }

    /// As the eBPF programs read it, for this generation of the VM's slot.
    pub fn to_policy(&self, generation: u32) -> Policy {
        let rules = Rules::new(self.mode.value.0, self.allow.value.0, generation)
            .with_weight(self.weight.value.0);
        Policy::new(rules, self.limit.value.to_gcra(), self.limit.value.to_psp_share())
    }
}

/// Who made a change, and when.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The user.
    pub uid: u32,
    /// RFC 3339, in UTC.
    pub at: String,
}
