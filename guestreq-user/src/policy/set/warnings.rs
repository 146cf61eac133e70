//! # Warnings about a policy set

use super::PolicySet;
use crate::policy::{
    Limit, LocatedRule, Weight,
    overlap::never_applies,
    safety::{self, Service},
    weights::without_order,
};

impl PolicySet {
    /// Valid settings that may be unintended.
    pub fn warnings(&self, service: Service) -> Vec<String> {
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
        let by_override = self.each_override().filter_map(|(who, settings)| {
            let why = safety::no_tsc_info(settings.allow.as_ref()?.value)?;
            Some(format!("override for {who}: {why}"))
        });
        let slow = self.limits().filter_map(|(at, limit)| {
            let why = safety::too_slow(limit, service)?;
            // Accepted when the PSP was faster, or by an older version.
            Some(format!("{at}: {why}; it still applies, as it was accepted before"))
        });
        let idle = self
            .limits()
            .filter_map(|(at, limit)| Some(format!("{at}: {}", never_applies(limit, service)?)));
        let unused = self.weights().filter(|(_, weight)| !weight.is_default());
        let unused =
            unused.filter_map(|(at, _)| Some(format!("{at}: {}", without_order(self.backend)?)));
        let limits = slow.chain(idle).chain(unused);
        top.chain(rules).chain(matches).chain(by_override).chain(limits).collect()
    }

    /// Whether any VM may get another weight than the default.
    pub fn has_weights(&self) -> bool {
        self.weights().any(|(_, weight)| !weight.is_default())
    }

    /// Every weight, with where it is set.
    fn weights(&self) -> impl Iterator<Item = (String, Weight)> {
        let of_files = self.files().flat_map(|(policy_file, _)| policy_file.weights());
        let of_files = of_files.map(|(weight, at)| (at.to_string(), weight));
        of_files.chain(self.each_override().filter_map(|(who, settings)| {
            Some((format!("override for {who}"), settings.weight.as_ref()?.value))
        }))
    }

    /// Every limit, with where it is set.
    fn limits(&self) -> impl Iterator<Item = (String, Limit)> {
        let of_files = self.files().flat_map(|(policy_file, _)| policy_file.limits());
        let of_files = of_files.map(|(limit, at)| (at.to_string(), limit));
        of_files.chain(self.each_override().filter_map(|(who, settings)| {
            Some((format!("override for {who}"), settings.limit.as_ref()?.value))
        }))
    }
}
