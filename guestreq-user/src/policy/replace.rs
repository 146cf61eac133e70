//! # Planning replacements of policy files
//!
//! By a reload of the configuration, or by `policy apply`. As with [`super::change`], nothing is
//! changed here.

use guestreq_common::policy::Mode;

use super::{
    Applied, Apply, Difference, KnownVm, Override, PolicyFile, PolicySet, Refusal, Stamp,
    safety::{self, Service},
};
use crate::text::quoted;

/// A policy set that may replace the current one.
#[derive(Debug)]
pub struct Replacement {
    pub policy_set: PolicySet,
    pub changed: Vec<Difference>,
    /// Whether it enforces something that was not enforced.
    pub starts_enforcing: bool,
    pub warnings: Vec<String>,
}

impl PolicySet {
    /// Plans another configuration.
    pub fn with_file(
        &self,
        file: PolicyFile,
        vms: &[KnownVm<'_>],
        service: Service,
    ) -> Result<Replacement, Refusal> {
        self.replaced_by(PolicySet { file, ..self.clone() }, vms, service)
    }

    /// Plans another applied file.
    pub fn with_applied(
        &self,
        apply: &Apply,
        stamp: &Stamp,
        vms: &[KnownVm<'_>],
        service: Service,
    ) -> Result<Replacement, Refusal> {
        let mut policy_set = self.clone();
        let mut warnings = Vec::new();
        if let Some(policy_file) = &apply.policy_file {
            if policy_file.is_empty() {
                let why = "the file sets nothing: to clear the applied file, use --clear";
                return Err(Refusal::Refused(why.to_owned()));
            }
            let slow = policy_file
                .limits()
                .find_map(|(limit, at)| Some((safety::too_slow(limit, service)?, at)));
            if let Some((why, at)) = slow {
                return Err(Refusal::Refused(format!("{at}: {why}")));
            }
            warnings.extend(self.precedence_warning());
        }
        let applied = |policy_file: &PolicyFile| Applied {
            stamp: stamp.clone(),
            policy_file: policy_file.clone(),
        };
        policy_set.overrides.applied = apply.policy_file.as_ref().map(applied);
        let mut replacement = self.replaced_by(policy_set, vms, service)?;
        if !apply.yes
            && let Some(why) = replacement.warnings.first()
        {
            return Err(Refusal::Refused(format!("{why} (--yes to proceed)")));
        }
        let known = self.warnings(service);
        let new =
            replacement.policy_set.warnings(service).into_iter().filter(|why| !known.contains(why));
        replacement.warnings.extend(new.chain(warnings));
        Ok(replacement)
    }

    /// Fails if the new policy set contradicts itself. Warns of VMPCKs that running VMs would lose.
    fn replaced_by(
        &self,
        policy_set: PolicySet,
        vms: &[KnownVm<'_>],
        service: Service,
    ) -> Result<Replacement, Refusal> {
        if let Some((_, why)) = policy_set.contradiction() {
            return Err(Refusal::Refused(why));
        }
        let affected = safety::affected(self, &policy_set, vms, service);
        let warnings = safety::harmed(&affected).into_iter().collect();
        let mut changed =
            vec![Difference { vm: None, old: self.default(), new: policy_set.default() }];
        changed.extend(affected.into_iter().map(|vm| Difference {
            vm: Some(vm.label.to_owned()),
            old: vm.before,
            new: vm.after,
        }));
        let starts = |difference: &Difference| {
            let [old, new] = [&difference.old, &difference.new].map(|policy| policy.mode.value.0);
            old != Mode::Enforce && new == Mode::Enforce
        };
        let starts_enforcing =
            (policy_set.enforces() && !self.enforces()) || changed.iter().any(starts);
        changed.retain(|difference| !difference.old.has_same_values(&difference.new));
        Ok(Replacement { policy_set, changed, starts_enforcing, warnings })
    }

    /// Warns of single overrides, which precede the file.
    fn precedence_warning(&self) -> Option<String> {
        let keys = |set: &Override| {
            let keys = [
                ("mode", set.mode.is_some()),
                ("allow", set.allow.is_some()),
                ("limit", set.limit.is_some()),
                ("weight", set.weight.is_some()),
            ];
            keys.into_iter()
                .filter(|(_, set)| *set)
                .map(|(key, _)| key)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let default = Some(keys(&self.overrides.default)).filter(|keys| !keys.is_empty());
        let default = default.map(|keys| format!("{keys} of the default"));
        let vms = self.overrides.vms.iter();
        let vms = vms.map(|(vm, set)| format!("{} of {}", keys(set), quoted(vm)));
        let set: Vec<_> = default.into_iter().chain(vms).collect();
        (!set.is_empty()).then(|| {
            format!(
                "overrides take precedence over the file: {} (`guestreq policy clear`, \
                 `guestreq limit clear`)",
                safety::some_of(&set)
            )
        })
    }
}

/// What changed, on a line: `default: mode audit, … -> mode enforce, …; "web": …`.
pub fn describe(changed: &[Difference]) -> String {
    if changed.is_empty() {
        return "no change for the default or running VMs".to_owned();
    }
    let each = |Difference { vm, old, new }: &Difference| {
        let who = vm.as_deref().map_or_else(|| "default".to_owned(), quoted);
        format!("{who}: {old} -> {new}")
    };
    safety::some_of(&changed.iter().map(each).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
