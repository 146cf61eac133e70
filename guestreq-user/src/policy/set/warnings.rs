//! # Warnings about a policy set

use super::PolicySet;
use crate::policy::{
    LocatedRule,
    overlap::never_applies,
    safety::{self, Service},
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
        let limits = self.too_slow(service).chain(self.never_apply(service));
        top.chain(rules).chain(matches).chain(by_override).chain(limits).collect()
    }

    /// Rates and shares of which one never applies.
    fn never_apply(&self, service: Service) -> impl Iterator<Item = String> {
        let limits = self.files().flat_map(|(policy_file, _)| policy_file.limits());
        let of_files = limits.filter_map(move |(limit, at)| {
            Some(format!("{at}: {}", never_applies(limit, service)?))
        });
        of_files.chain(self.each_override().filter_map(move |(who, settings)| {
            let why = never_applies(settings.limit.as_ref()?.value, service)?;
            Some(format!("override for {who}: {why}"))
        }))
    }

    /// Limits that were accepted when the PSP was faster, or by an older version.
    fn too_slow(&self, service: Service) -> impl Iterator<Item = String> {
        let limits = self.files().flat_map(|(policy_file, _)| policy_file.limits());
        let of_files = limits.filter_map(move |(limit, at)| {
            Some(format!(
                "{at}: {}; it still applies, as it was accepted before",
                safety::too_slow(limit, service)?
            ))
        });
        of_files.chain(self.each_override().filter_map(move |(who, settings)| {
            let why = safety::too_slow(settings.limit.as_ref()?.value, service)?;
            Some(format!("override for {who}: {why}; it still applies, as it was accepted before"))
        }))
    }
}
