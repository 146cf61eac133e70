//! # The book of rules
//!
//! The configuration and the overrides together, and what follows for a VM.

use guestreq_common::policy::{Backend, Mode};

use super::{
    Effective, File, Origin, Override, Overrides, Set, Setting, Settings, overrides, refusals,
};
use crate::host::Identity;

#[derive(Clone, Debug, PartialEq)]
pub struct Book {
    pub file: File,
    pub overrides: Overrides,
}

/// Where something that cannot be is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The configuration's top level.
    Top,
    /// A rule of the configuration, counted from 0.
    Rule(usize),
    Override,
}

impl Book {
    /// What holds for VMs of which nothing is said.
    pub fn default(&self) -> Effective {
        self.effective(None)
    }

    /// What holds for a VM.
    pub fn resolve(&self, vm: &Identity) -> Effective {
        self.effective(Some(vm))
    }

    fn effective(&self, vm: Option<&Identity>) -> Effective {
        let built_in = Effective::built_in();
        Effective {
            mode: self.pick(vm, |set| set.mode.as_ref(), |file| file.mode, built_in.mode),
            allow: self.pick(vm, |set| set.allow.as_ref(), |file| file.allow, built_in.allow),
            limit: self.pick(vm, |set| set.limit.as_ref(), |file| file.limit, built_in.limit),
        }
    }

    /// The first that says something, in the order that [`super`] tells.
    fn pick<T: Copy>(
        &self,
        vm: Option<&Identity>,
        of_override: impl Fn(&Override) -> Option<&Set<T>>,
        of_file: impl Fn(Settings) -> Option<T>,
        built_in: Setting<T>,
    ) -> Setting<T> {
        let overridden = |of, by: &Override| {
            let Set { value, stamp } = of_override(by)?;
            let origin = Origin::Override { of, stamp: stamp.clone() };
            Some(Setting { value: *value, origin })
        };
        let by_hand = || overridden(super::Level::Vm, self.overrides.of(vm?)?);
        let by_rule = || {
            let vm = vm?;
            let rules = self.file.rules.iter().zip(1..);
            rules.filter(|(rule, _)| rule.matches.matches(vm)).find_map(|(rule, number)| {
                let value = of_file(rule.settings())?;
                let matches = Some(rule.matches.to_string());
                Some(Setting { value, origin: Origin::Config { rule: Some(number), matches } })
            })
        };
        let by_file = || {
            let value = of_file(self.file.default)?;
            Some(Setting { value, origin: Origin::Config { rule: None, matches: None } })
        };
        by_hand()
            .or_else(by_rule)
            .or_else(|| overridden(super::Level::Default, &self.overrides.default))
            .or_else(by_file)
            .unwrap_or(built_in)
    }

    /// Whether something is said of some VMs only.
    pub fn names_vms(&self) -> bool {
        !self.file.rules.is_empty() || !self.overrides.vms.is_empty()
    }

    /// Every mode that some VM may get, and where it is said.
    fn modes(&self) -> impl Iterator<Item = (Mode, Place, String)> {
        let default = self.default().mode;
        let (place, text) = match default.origin {
            Origin::Override { .. } => (Place::Override, "the default's override"),
            _ => (Place::Top, "the top level"),
        };
        let rules = self.file.rules.iter().enumerate().filter_map(|(i, rule)| {
            let text = format!("the rule for {}", rule.matches);
            Some((rule.mode?.0, Place::Rule(i), text))
        });
        let overrides = self.overrides.vms.iter().filter_map(|(vm, set)| {
            let mode = set.mode.as_ref()?.value.0;
            Some((mode, Place::Override, format!("the override for {vm:?}")))
        });
        std::iter::once((default.value.0, place, text.to_owned())).chain(rules).chain(overrides)
    }

    /// The strictest mode that some VM may get.
    pub fn strictest(&self) -> Mode {
        self.modes().map(|(mode, ..)| mode).max().unwrap_or(Mode::Observe)
    }

    pub fn enforces(&self) -> bool {
        self.strictest() == Mode::Enforce
    }

    /// Whether a new VM waits until the agent has said which policy is its.
    pub fn waits(&self) -> bool {
        self.names_vms() && self.enforces()
    }

    /// Why it cannot be done as it is said.
    pub fn contradiction(&self) -> Option<(Place, String)> {
        if self.file.backend != Backend::None {
            return None;
        }
        let (_, place, who) = self.modes().find(|(mode, ..)| *mode == Mode::Enforce)?;
        let why = format!(
            "{who} says enforce, but the backend is none, which only counts: \
             set backend = \"gate\" or \"vcpu\", or mode = \"audit\""
        );
        Some((place, why))
    }

    /// What its author may not have meant.
    pub fn warnings(&self) -> Vec<String> {
        let no_tsc_info = |settings: Settings| refusals::no_tsc_info(settings.allow?);
        let top = no_tsc_info(self.file.default).map(str::to_owned);
        let rules = self.file.rules.iter().flat_map(|rule| {
            let warnings = [
                no_tsc_info(rule.settings()),
                rule.matches.of_pods().then_some(
                    "which pod a VM is in is not looked up yet: this rule matches nothing",
                ),
            ];
            let who = rule.matches.to_string();
            warnings.into_iter().flatten().map(move |why| format!("rule for {who}: {why}"))
        });
        let overrides = &self.overrides;
        let by_hand = std::iter::once(("the default", &overrides.default))
            .chain(overrides.vms.iter().map(|(vm, set)| (vm.as_str(), set)))
            .filter_map(|(who, set)| {
                let why = refusals::no_tsc_info(set.allow.as_ref()?.value)?;
                Some(format!("override for {who}: {why}"))
            });
        top.into_iter().chain(rules).chain(by_hand).collect()
    }

    /// A VM that is not running, as far as its override's key tells.
    pub fn absent(key: &str) -> Identity {
        let vm = Identity { name: key.to_owned(), named: true, ..Identity::default() };
        debug_assert_eq!(overrides::key_of(&vm), Some(key));
        vm
    }
}

#[cfg(test)]
mod tests;
