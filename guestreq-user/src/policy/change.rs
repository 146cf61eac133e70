//! # Planning changes
//!
//! The policy set after a requested change, or why it is refused. Nothing is changed here: a plan
//! is first stored, then applied.

use std::{borrow::Cow, fmt};

use guestreq_common::{message::MessageType, policy::Mode};

use super::{
    Change, Effective, Limit, Named, Override, PolicySet, Request, Stamp, Stamped, Target, Types,
    key_of,
    overlap::never_applies,
    safety::{self, Service},
    vm_lookup::{self, Candidate, LookupError},
};
use crate::host::Identity;

/// A VM that has a record.
pub struct KnownVm<'a> {
    pub vm: Candidate<'a>,
    /// Types that it has sent.
    pub sent: Types,
    /// Whether it was over its limit in audit.
    pub was_over: bool,
}

/// A permitted change.
#[derive(Debug)]
pub struct Plan {
    /// The VM, by its override's key, or the default.
    pub target: Target,
    pub policy_set: PolicySet,
    pub old: Effective,
    pub new: Effective,
    pub warnings: Vec<String>,
}

/// Why a change is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownVm(String),
    Refused(String),
    /// It could not be stored.
    Failed(String),
}

impl From<LookupError> for Refusal {
    fn from(unclear: LookupError) -> Refusal {
        match unclear {
            LookupError::Unknown(why) => Refusal::UnknownVm(why),
            LookupError::Ambiguous(why) => Refusal::Refused(why),
        }
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Refusal {
        Refusal::Failed(format!("{error:#}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refusal::UnknownVm(why) | Refusal::Refused(why) | Refusal::Failed(why)) = self;
        f.write_str(why)
    }
}

impl PolicySet {
    pub fn plan(
        &self,
        request: &Request,
        stamp: &Stamp,
        vms: &[KnownVm<'_>],
        service: Service,
    ) -> Result<Plan, Refusal> {
        let change = permitted(request, service)?;
        let vm = match &request.target {
            Target::Default => None,
            Target::Vm(name) => Some(self.find(name, vms)?),
        };
        let effective = |policy_set: &PolicySet| {
            vm.as_ref().map_or_else(|| policy_set.default(), |vm| policy_set.resolve(vm))
        };
        let old = effective(self);
        let mut policy_set = self.clone();
        let key = vm.as_ref().and_then(|vm| self.overrides.key(vm)).map(Cow::into_owned);
        policy_set.overrides.edit(key.as_deref(), |set| edit(set, &change, &old, stamp));
        let new = effective(&policy_set);
        if let Some((_, why)) = policy_set.contradiction() {
            return Err(Refusal::Refused(why));
        }
        // A limit has its own question, which was answered with --force.
        let asks = change.limit().is_none() && !matches!(change, Change::ClearLimit);
        let mut warnings = Vec::new();
        match safety::harmed(&safety::affected(self, &policy_set, vms, service)) {
            Some(why) if asks && !request.yes => {
                return Err(Refusal::Refused(format!("{why} (--yes to proceed)")));
            }
            Some(why) => warnings.push(why),
            None => {}
        }
        warnings.extend(remarks(&change, &old, &new, service));
        let called_so = |other: &&Candidate<'_>| {
            !other.exited && vm.as_ref().is_some_and(|vm| key_of(other.identity) == key_of(vm))
        };
        let all = vms.iter().map(|seen| &seen.vm);
        let namesakes: Vec<_> = all.filter(called_so).map(|vm| format!("{:?}", vm.label)).collect();
        if namesakes.len() > 1 {
            let all = safety::some_of(&namesakes);
            warnings.push(format!("applies to all running VMs of this name: {all}"));
        }
        let target = key.map_or(Target::Default, Target::Vm);
        Ok(Plan { target, policy_set, old, new, warnings })
    }

    /// The VM of that name, or one that has an override but does not run.
    fn find(&self, name: &str, vms: &[KnownVm<'_>]) -> Result<Identity, Refusal> {
        let all: Vec<_> = vms.iter().map(|seen| seen.vm).collect();
        // A name that something was set for is no pid or UUID of another VM.
        let set = self.overrides.vms.contains_key(name);
        let vm = match vm_lookup::find(name, &all) {
            Ok(at) if !set || self.overrides.key(all[at].identity).as_deref() == Some(name) => {
                &all[at]
            }
            Ok(_) => return Ok(PolicySet::absent(name)),
            Err(LookupError::Unknown(_)) if set => return Ok(PolicySet::absent(name)),
            Err(unclear) => return Err(unclear.into()),
        };
        if key_of(vm.identity).is_some() {
            return Ok(vm.identity.clone());
        }
        Err(Refusal::Refused(format!(
            "{:?} has neither a name nor a UUID to identify it: use --default, or a [[vm]] rule \
             that matches its vmm ({:?})",
            vm.label, vm.identity.vmm
        )))
    }
}

/// The change, unless guests cannot live with its limit and it was not forced.
fn permitted(request: &Request, service: Service) -> Result<Change, Refusal> {
    let mut change = request.change.clone();
    if let Change::Limit(limit) | Change::LimitAndWeight { limit, .. } = &mut change
        && let Some(why) = safety::too_slow(*limit, service)
    {
        match limit {
            Limit::On(throttle) if request.force => throttle.force = true,
            _ => return Err(Refusal::Refused(format!("{why}, or --force"))),
        }
    }
    Ok(change)
}

fn edit(target: &mut Override, change: &Change, old: &Effective, stamp: &Stamp) {
    fn set<T>(value: T, stamp: &Stamp) -> Option<Stamped<T>> {
        Some(Stamped { value, stamp: stamp.clone() })
    }
    let with = |kinds: &[Named<MessageType>], allowed| {
        Types(kinds.iter().fold(old.allow.value.0, |all, kind| all.with(kind.0, allowed)))
    };
    match change {
        Change::Limit(limit) => target.limit = set(*limit, stamp),
        Change::Weight(weight) => target.weight = set(*weight, stamp),
        Change::LimitAndWeight { limit, weight } => {
            (target.limit, target.weight) = (set(*limit, stamp), set(*weight, stamp));
        }
        Change::ClearLimit => (target.limit, target.weight) = (None, None),
        Change::Mode(mode) => target.mode = set(*mode, stamp),
        Change::Allow(kinds) => target.allow = set(with(kinds, true), stamp),
        Change::Deny(kinds) => target.allow = set(with(kinds, false), stamp),
        Change::ClearPolicy => (target.mode, target.allow) = (None, None),
    }
}

/// Effects that may be unintended.
fn remarks(change: &Change, old: &Effective, new: &Effective, service: Service) -> Vec<String> {
    let mut remarks = Vec::new();
    remarks.extend(change.limit().and_then(|limit| never_applies(limit, service)));
    if safety::no_tsc_info(old.allow.value).is_none() {
        remarks.extend(safety::no_tsc_info(new.allow.value).map(str::to_owned));
    }
    let limits = matches!(change.limit(), Some(Limit::On(_)));
    let restricts = limits || matches!(change, Change::Deny(_));
    let only = match new.mode.value.0 {
        Mode::Observe => "nothing is decided",
        Mode::Audit => "what would be refused is only counted",
        Mode::Enforce => return remarks,
    };
    if restricts {
        remarks.push(format!("the mode is {}: {only} (guestreq policy mode)", new.mode.value));
    }
    remarks
}

#[cfg(test)]
mod tests;
