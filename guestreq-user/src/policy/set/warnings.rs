//! # What its author may not have meant

use super::PolicySet;
use crate::{
    policy::{LocatedRule, safety},
    text::quoted,
};

impl PolicySet {
    /// What is right, and may not be meant.
    pub fn warnings(&self) -> Vec<String> {
        let top = self.sheets().filter_map(|(policy_file, _)| {
            let said = policy_file.allow.as_ref()?;
            Some(format!("{}: {}", said.at, safety::no_tsc_info(said.value)?))
        });
        let rules = self.rules().filter_map(|LocatedRule { rule, at }| {
            let why = rule.allow.and_then(safety::no_tsc_info)?;
            Some(format!("{at}: rule for {}: {why}", rule.matches))
        });
        let matches = self.rules().filter_map(|LocatedRule { rule, at }| {
            Some(format!("{at}: rule for {}: {}", rule.matches, rule.matches.warning()?))
        });
        let overrides = &self.overrides;
        let by_hand = std::iter::once(("the default".to_owned(), &overrides.default))
            .chain(overrides.vms.iter().map(|(vm, set)| (quoted(vm), set)))
            .filter_map(|(who, set)| {
                let why = safety::no_tsc_info(set.allow.as_ref()?.value)?;
                Some(format!("override for {who}: {why}"))
            });
        top.chain(rules).chain(matches).chain(by_hand).chain(self.too_slow()).collect()
    }

    /// Limits that an older version has taken, and that this one would not.
    fn too_slow(&self) -> impl Iterator<Item = String> {
        let limits = self.sheets().flat_map(|(policy_file, _)| policy_file.limits());
        let of_files = limits.filter_map(|(limit, at)| {
            Some(format!("{at}: {}; it holds, as it was accepted", safety::too_slow(limit)?))
        });
        let overrides = &self.overrides;
        let by_hand = std::iter::once(("the default".to_owned(), &overrides.default))
            .chain(overrides.vms.iter().map(|(vm, set)| (quoted(vm), set)));
        of_files.chain(by_hand.filter_map(|(who, set)| {
            let why = safety::too_slow(set.limit.as_ref()?.value)?;
            Some(format!("override for {who}: {why}; it holds, as it was accepted"))
        }))
    }
}
