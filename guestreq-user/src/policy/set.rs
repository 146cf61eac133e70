//! # The policy set
//!
//! The configuration and the overrides, and a VM's policy by both.

mod warnings;

use guestreq_common::policy::{Backend, Mode};

use super::{
    Applied, Effective, Level, Limit, Located, LocatedRule, Named, Origin, Override, Overrides,
    PolicyFile, Rule, Setting, Source, Stamp, Stamped, Types, Weight, overrides,
};
use crate::{host::Identity, text::quoted};

#[derive(Clone, Debug, PartialEq)]
pub struct PolicySet {
    /// What enforces decisions; fixed while the agent runs.
    pub backend: Backend,
    /// The configuration's files.
    pub file: PolicyFile,
    pub overrides: Overrides,
}

/// Accessors for one of mode, allow, limit and weight in each layer.
struct Key<T> {
    of_override: fn(&Override) -> Option<&Stamped<T>>,
    of_rule: fn(&Rule) -> Option<T>,
    of_file: fn(&PolicyFile) -> Option<&Located<T>>,
}

const MODE: Key<Named<Mode>> = Key {
    of_override: |set| set.mode.as_ref(),
    of_rule: |rule| rule.mode,
    of_file: |policy_file| policy_file.mode.as_ref(),
};
const ALLOW: Key<Types> = Key {
    of_override: |set| set.allow.as_ref(),
    of_rule: |rule| rule.allow,
    of_file: |policy_file| policy_file.allow.as_ref(),
};
const LIMIT: Key<Limit> = Key {
    of_override: |set| set.limit.as_ref(),
    of_rule: |rule| rule.limit,
    of_file: |policy_file| policy_file.limit.as_ref(),
};
const WEIGHT: Key<Weight> = Key {
    of_override: |set| set.weight.as_ref(),
    of_rule: |rule| rule.weight,
    of_file: |policy_file| policy_file.weight.as_ref(),
};

impl PolicySet {
    /// The policy of VMs without rules or overrides.
    pub fn default(&self) -> Effective {
        self.effective(None)
    }

    /// A VM's policy.
    pub fn resolve(&self, vm: &Identity) -> Effective {
        self.effective(Some(vm))
    }

    fn effective(&self, vm: Option<&Identity>) -> Effective {
        let built_in = Effective::built_in();
        Effective {
            mode: self.pick(vm, &MODE, built_in.mode),
            allow: self.pick(vm, &ALLOW, built_in.allow),
            limit: self.pick(vm, &LIMIT, built_in.limit),
            weight: self.pick(vm, &WEIGHT, built_in.weight),
        }
    }

    /// The first setting in the order of [`super`].
    fn pick<T: Copy>(
        &self,
        vm: Option<&Identity>,
        key: &Key<T>,
        built_in: Setting<T>,
    ) -> Setting<T> {
        let overridden = |of, by: &Override| {
            let Stamped { value, stamp } = (key.of_override)(by)?;
            let origin = Origin::Override { of, stamp: stamp.clone() };
            Some(Setting { value: *value, origin })
        };
        let by_override = || overridden(Level::Vm, self.overrides.of(vm?)?);
        let by_rule = || {
            let vm = vm?;
            self.files().find_map(|(policy_file, stamp)| {
                let rules = policy_file.rules.iter().zip(1..);
                rules.filter(|(at, _)| at.rule.matches.matches(vm)).find_map(|(at, number)| {
                    let value = (key.of_rule)(&at.rule)?;
                    Some(Setting { value, origin: origin(&at.at, Some((number, &at.rule)), stamp) })
                })
            })
        };
        let by_top = || {
            self.files().find_map(|(policy_file, stamp)| {
                let Located { value, at } = (key.of_file)(policy_file)?;
                Some(Setting { value: *value, origin: origin(at, None, stamp) })
            })
        };
        by_override()
            .or_else(by_rule)
            .or_else(|| overridden(Level::Default, &self.overrides.default))
            .or_else(by_top)
            .unwrap_or(built_in)
    }

    /// The applied file with its stamp, then the configuration's.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PolicyFile, Option<&Stamp>)> {
        let applied = self.overrides.applied.iter();
        let applied = applied.map(|Applied { stamp, policy_file }| (policy_file, Some(stamp)));
        applied.chain([(&self.file, None)])
    }

    /// All rules in their order.
    fn rules(&self) -> impl Iterator<Item = &LocatedRule> {
        self.files().flat_map(|(policy_file, _)| &policy_file.rules)
    }

    /// Every override, with what it applies to.
    pub(super) fn each_override(&self) -> impl Iterator<Item = (String, &Override)> {
        let Overrides { default, vms, .. } = &self.overrides;
        let vms = vms.iter().map(|(vm, settings)| (quoted(vm), settings));
        std::iter::once(("the default".to_owned(), default)).chain(vms)
    }

    /// Whether any rule or override is for some VMs only.
    pub fn names_vms(&self) -> bool {
        self.rules().next().is_some() || !self.overrides.vms.is_empty()
    }

    /// Every mode that a VM may get, with what sets it and where.
    fn modes(&self) -> impl Iterator<Item = (Mode, String, Option<&Source>)> {
        let top = self.files().find_map(|(policy_file, _)| policy_file.mode.as_ref());
        let default = match (&self.overrides.default.mode, top) {
            (Some(set), _) => (set.value.0, "the default's override", None),
            (None, Some(Located { value, at })) => (value.0, "the top level", Some(at)),
            (None, None) => (Effective::built_in().mode.value.0, "the top level", None),
        };
        let rules = self.rules().filter_map(|LocatedRule { rule, at }| {
            Some((rule.mode?.0, format!("the rule for {}", rule.matches), Some(at)))
        });
        let overrides = self.overrides.vms.iter().filter_map(|(vm, set)| {
            let mode = set.mode.as_ref()?.value.0;
            Some((mode, format!("the override for {}", quoted(vm)), None))
        });
        let (mode, who, at) = default;
        std::iter::once((mode, who.to_owned(), at)).chain(rules).chain(overrides)
    }

    /// The strictest mode that a VM may get.
    pub fn strictest(&self) -> Mode {
        self.modes().map(|(mode, ..)| mode).max().unwrap_or(Mode::Observe)
    }

    pub fn enforces(&self) -> bool {
        self.strictest() == Mode::Enforce
    }

    /// Whether a new VM waits until the agent has resolved its policy.
    pub fn waits(&self) -> bool {
        self.names_vms() && self.enforces()
    }

    /// Why the set contradicts itself: it enforces without a backend.
    pub fn contradiction(&self) -> Option<(Option<&Source>, String)> {
        if self.backend != Backend::None {
            return None;
        }
        let (_, who, place) = self.modes().find(|(mode, ..)| *mode == Mode::Enforce)?;
        let why = format!(
            "{who} says enforce, but the backend is none, which only counts: \
             set backend = \"gate\" or \"vcpu\", or mode = \"audit\""
        );
        Some((place, why))
    }

    /// A VM that is not running, by its override's key.
    pub fn absent(key: &str) -> Identity {
        let vm = Identity::called(key);
        debug_assert_eq!(overrides::key_of(&vm).as_deref(), Some(key));
        vm
    }
}

/// The origin of a setting of a file's top level or rule; an applied file has a stamp.
fn origin(at: &Source, rule: Option<(usize, &Rule)>, stamp: Option<&Stamp>) -> Origin {
    let at = at.clone();
    let (rule, matches) = rule.map(|(number, rule)| (number, rule.matches.to_string())).unzip();
    match stamp.cloned() {
        Some(stamp) => Origin::Applied { at, rule, matches, stamp },
        None => Origin::Config { at, rule, matches },
    }
}

#[cfg(test)]
mod tests;
