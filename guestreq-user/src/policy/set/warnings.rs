//! # Warnings about a policy set

use super::PolicySet;
use crate::{
    policy::{LocatedRule, safety},
    text::quoted,
};

impl PolicySet {
    /// Valid settings that may be unintended.
    pub fn warnings(&self) -> Vec<String> {
        let top = self.files().filter_map(|(policy_file, _)| {
            let allow = policy_file.allow.as_ref()?;
            Some(format!("{}: {}", allow.at, safety::no_tsc_info(allow.value)?))
        });
        let rules = self.rules().filter_map(|LocatedRule { rule, at }| {
            let why = rule.allow.and_then(safety::no_tsc_info)?;
            Some(format!("{at}: rule for {}: {why}", rule.matches))
        });
        let matches = self.rules().filter_map(|LocatedRule { rule, at }| {
            Some(format!("{at}: rule for {}: {}", rule.matches, rule.matches.warning()?))
        });
        let overrides = &self.overrides;
        let by_override = std::iter::once(("the default".to_owned(), &overrides.default))
            .chain(overrides.vms.iter().map(|(vm, set)| (quoted(vm), set)))
            .filter_map(|(who, set)| {
                let why = safety::no_tsc_info(set.allow.as_ref()?.value)?;
                Some(format!("override for {who}: {why}"))
            });
        top.chain(rules).chain(matches).chain(by_override).chain(self.too_slow()).collect()
    }

    /// Limits that an older version has accepted, and this one would not.
    fn too_slow(&self) -> impl Iterator<Item = String> {
        let limits = self.files().flat_map(|(policy_file, _)| policy_file.limits());
        let of_files = limits.filter_map(|(limit, at)| {
            Some(format!(
                "{at}: {}; it still applies, as it was accepted before",
                safety::too_slow(limit)?
            ))
        });
        let overrides = &self.overrides;
        let by_override = std::iter::once(("the default".to_owned(), &overrides.default))
            .chain(overrides.vms.iter().map(|(vm, set)| (quoted(vm), set)));
        of_files.chain(by_override.filter_map(|(who, set)| {
            let why = safety::too_slow(set.limit.as_ref()?.value)?;
            Some(format!("override for {who}: {why}; it still applies, as it was accepted before"))
        }))
    }
}
