//! # Changes
//!
//! What somebody wants changed, and the book as it would be then, or why not.
//! Nothing is changed here: what is planned is first kept, then applied.

use std::{borrow::Cow, fmt};

use guestreq_common::{message::MessageType, policy::Mode};
use serde::{Deserialize, Serialize};

use super::{
    Book, Effective, Limit, Named, Override, Set, Stamp, Throttle, Types, key_of,
    naming::{self, Candidate, Unclear, quoted},
    refusals::{self, Touched},
};
use crate::host::Identity;

/// One change of one target.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub target: Target,
    pub change: Change,
    /// Even if guests lose VMPCKs because the rate is too low.
    #[serde(default)]
    pub force: bool,
    /// Even if running VMs lose VMPCKs.
    #[serde(default)]
    pub yes: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Default,
    /// By its label, name, UUID or pid, or the name that something is set for.
    Vm(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Default => f.write_str("default"),
            Target::Vm(name) => write!(f, "VM {}", quoted(name)),
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Limit(Limit),
    /// Drops what was set of the limit.
    ClearLimit,
    Mode(Named<Mode>),
    /// Beside what is allowed now.
    Allow(Vec<Named<MessageType>>),
    Deny(Vec<Named<MessageType>>),
    /// Drops what was set of mode and types.
    ClearPolicy,
}

/// A VM that has a record.
pub struct Seen<'a> {
    pub label: &'a str,
    pub identity: &'a Identity,
    pub pid: u32,
    pub exited: bool,
    /// Types that it has sent.
    pub sent: Types,
    /// Whether it was over its limit in audit.
    pub was_over: bool,
}

/// A change that may be made.
#[derive(Debug)]
pub struct Plan {
    /// What was meant, by the name that it is kept by.
    pub target: Target,
    pub book: Book,
    pub old: Effective,
    pub new: Effective,
    pub warnings: Vec<String>,
}

/// Why a change is not made.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownVm(String),
    Refused(String),
    /// It could not be kept.
    Failed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refusal::UnknownVm(why) | Refusal::Refused(why) | Refusal::Failed(why)) = self;
        f.write_str(why)
    }
}

impl Book {
    pub fn plan(
        &self,
        request: &Request,
        stamp: &Stamp,
        vms: &[Seen<'_>],
    ) -> Result<Plan, Refusal> {
        let change = permitted(request)?;
        let vm = match &request.target {
            Target::Default => None,
            Target::Vm(name) => Some(self.find(name, vms)?),
        };
        let effective =
            |book: &Book| vm.as_ref().map_or_else(|| book.default(), |vm| book.resolve(vm));
        let old = effective(self);
        let mut book = self.clone();
        let key = vm.as_ref().and_then(|vm| self.overrides.key(vm)).map(Cow::into_owned);
        book.overrides.edit(key.as_deref(), |set| edit(set, &change, &old, stamp));
        let new = effective(&book);
        if let Some((_, why)) = book.contradiction() {
            return Err(Refusal::Refused(why));
        }
        let touched: Vec<Touched<'_>> = vms
            .iter()
            .filter(|vm| !vm.exited)
            .map(|vm| Touched {
                label: vm.label,
                before: self.resolve(vm.identity),
                after: book.resolve(vm.identity),
                sent: vm.sent,
                was_over: vm.was_over,
            })
            .collect();
        // A limit has its own question, which was answered with --force.
        let asks = !matches!(change, Change::Limit(_) | Change::ClearLimit);
        let losing = refusals::losing(&touched);
        let mut warnings = Vec::new();
        match losing {
            Some(why) if asks && !request.yes => {
                return Err(Refusal::Refused(format!("{why} (--yes does it all the same)")));
            }
            Some(why) => warnings.push(why),
            None => {}
        }
        warnings.extend(remarks(&change, &old, &new));
        let called_so = |other: &&Seen<'_>| {
            !other.exited && vm.as_ref().is_some_and(|vm| key_of(other.identity) == key_of(vm))
        };
        let namesakes: Vec<_> =
            vms.iter().filter(called_so).map(|vm| format!("{:?}", vm.label)).collect();
        if namesakes.len() > 1 {
            let all = refusals::some_of(&namesakes);
            warnings.push(format!("it holds for all running VMs of this name: {all}"));
        }
        let target = key.map_or(Target::Default, Target::Vm);
        Ok(Plan { target, book, old, new, warnings })
    }

    /// The VM that is meant, or a name that something was set for.
    fn find(&self, name: &str, vms: &[Seen<'_>]) -> Result<Identity, Refusal> {
        let all: Vec<_> = vms
            .iter()
            .map(|&Seen { label, identity, pid, exited, .. }| Candidate {
                label,
                identity,
                pid,
                exited,
            })
            .collect();
        // A name that something was set for is no pid or UUID of another VM.
        let set = self.overrides.vms.contains_key(name);
        let vm = match naming::find(name, &all) {
            Ok(at) if !set || self.overrides.key(vms[at].identity).as_deref() == Some(name) => {
                &vms[at]
            }
            Ok(_) => return Ok(Book::absent(name)),
            Err(Unclear::Unknown(_)) if set => return Ok(Book::absent(name)),
            Err(Unclear::Unknown(why)) => return Err(Refusal::UnknownVm(why)),
            Err(Unclear::Ambiguous(why)) => return Err(Refusal::Refused(why)),
        };
        if key_of(vm.identity).is_some() {
            return Ok(vm.identity.clone());
        }
        Err(Refusal::Refused(format!(
            "{:?} has neither a name nor a UUID of its own by which it could be found again: use \
             --default, or a [[vm]] rule that matches its vmm ({:?})",
            vm.label, vm.identity.vmm
        )))
    }
}

/// The change, if its limit is one that guests can live with, or that was forced.
fn permitted(request: &Request) -> Result<Change, Refusal> {
    let Change::Limit(limit) = request.change else { return Ok(request.change.clone()) };
    match (refusals::too_slow(limit), limit) {
        (Some(_), Limit::On(throttle)) if request.force => {
            Ok(Change::Limit(Limit::On(Throttle { force: true, ..throttle })))
        }
        (Some(why), _) => Err(Refusal::Refused(format!("{why}, or --force"))),
        (None, _) => Ok(Change::Limit(limit)),
    }
}

fn edit(target: &mut Override, change: &Change, old: &Effective, stamp: &Stamp) {
    fn set<T>(value: T, stamp: &Stamp) -> Option<Set<T>> {
        Some(Set { value, stamp: stamp.clone() })
    }
    let with = |kinds: &[Named<MessageType>], allowed| {
        Types(kinds.iter().fold(old.allow.value.0, |all, kind| all.with(kind.0, allowed)))
    };
    match change {
        Change::Limit(limit) => target.limit = set(*limit, stamp),
        Change::ClearLimit => target.limit = None,
        Change::Mode(mode) => target.mode = set(*mode, stamp),
        Change::Allow(kinds) => target.allow = set(with(kinds, true), stamp),
        Change::Deny(kinds) => target.allow = set(with(kinds, false), stamp),
        Change::ClearPolicy => (target.mode, target.allow) = (None, None),
    }
}

/// What is done, but may not be what was meant.
fn remarks(change: &Change, old: &Effective, new: &Effective) -> Vec<String> {
    let mut remarks = Vec::new();
    if refusals::no_tsc_info(old.allow.value).is_none() {
        remarks.extend(refusals::no_tsc_info(new.allow.value).map(str::to_owned));
    }
    let restricts = matches!(change, Change::Limit(Limit::On(_)) | Change::Deny(_));
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
