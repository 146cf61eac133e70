//! # From the policy set of rules to the records
//!
//! What the configuration and the command line say is written where the programs
//! read it: as soon as a VM is known, and whenever something changes.

mod asked;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use guestreq_common::{
    message::MessageType,
    policy::{Backend, Decision, Mode},
    vm::Vm,
};
use log::warn;

use crate::{
    bpf::records::Records,
    config::Config,
    failpoint::{self, Point},
    observe::tracked::TrackedVm,
    policy::{
        Apply, KnownVm, Plan, PolicyFile, PolicySet, Refusal, Replacement, Request, Stamp, Store,
        Types,
    },
    wire::events::Time,
};

pub use asked::asked;

/// Longer than a program runs, even one that is preempted.
const SETTLE: Duration = Duration::from_millis(500);

pub struct Policies {
    policy_set: PolicySet,
    store: Store,
    /// New VMs still wait, though since then nothing wants it any more.
    settle: Option<Instant>,
}

impl Policies {
    /// What was configured, and what was set before.
    pub fn open(config: &Config) -> Result<Policies> {
        let store = Store::new(&config.state);
        let policy_set = config.policy_set(store.read()?);
        match policy_set.contradiction() {
            Some((_, why)) => Err(anyhow!("{why}, or remove it from {}", store.path().display())),
            None => Ok(Policies { policy_set, store, settle: None }),
        }
    }

    pub fn policy_set(&self) -> &PolicySet {
        &self.policy_set
    }

    /// Says what may not have been meant.
    pub fn warn(&self) {
        for warning in self.policy_set.warnings() {
            warn!("{warning}");
        }
    }

    /// What holds for VMs that nothing is known of.
    pub fn apply_default(&self, records: &Records) {
        // Which generation they have is not known: it is looked at in VMs' own policies only.
        records.set_backend(self.policy_set.backend);
        records.set_default_policy(self.policy_set.default().to_policy(0), self.policy_set.waits());
    }

    /// What holds for a VM.
    pub fn apply(&self, records: &Records, vm: &TrackedVm) {
        let policy = self.policy_set.resolve(&vm.identity).to_policy(vm.id.generation);
        records.set_policy(vm.id.index(), policy);
    }

    /// Whether VMs' vCPUs are taken out of the guest, by a signal that their VMM handles.
    pub fn kick(&self) -> bool {
        self.policy_set.backend == Backend::Vcpu
    }

    /// Now, and who.
    fn stamp(uid: u32) -> Stamp {
        Stamp { uid, at: Time::now().to_the_second() }
    }

    /// What a change would come to.
    pub fn plan(&self, vms: &[KnownVm<'_>], request: &Request, uid: u32) -> Result<Plan, Refusal> {
        self.policy_set.plan(request, &Policies::stamp(uid), vms)
    }

    /// What another configuration would come to.
    pub fn plan_file(
        &self,
        vms: &[KnownVm<'_>],
        file: &PolicyFile,
    ) -> Result<Replacement, Refusal> {
        self.policy_set.with_file(file.clone(), vms)
    }

    /// What another file that was applied would come to.
    pub fn plan_apply(
        &self,
        vms: &[KnownVm<'_>],
        apply: &Apply,
        uid: u32,
    ) -> Result<Replacement, Refusal> {
        self.policy_set.with_applied(apply, &Policies::stamp(uid), vms)
    }

    /// What keeps what the command line has set; until it is done nothing is changed. It may wait
    /// for a disk.
    pub fn keep(
        &self,
        policy_set: &PolicySet,
    ) -> impl FnOnce() -> Result<(), Refusal> + Send + use<> {
        let (store, overrides) = (self.store.clone(), policy_set.overrides.clone());
        move || {
            let kept = store.write(&overrides);
            kept.map_err(|error| Refusal::Failed(format!("{error:#}")))?;
            failpoint::point(Point::OverrideKept);
            Ok(())
        }
    }

    /// Has a policy set hold, for every request that comes after. Each request is decided by the old
    /// one's policy of its VM or by the new one's: a VM that is not known yet, and that either
    /// policy set has wait, is decided by neither's default while the records are of both.
    pub fn install(&mut self, policy_set: PolicySet, records: &Records, vms: &[TrackedVm]) {
        // What has changed a moment ago may still be under way.
        let waited = self.policy_set.waits() || self.settle.is_some();
        self.policy_set = policy_set;
        let policy = self.policy_set.default().to_policy(0);
        records.set_default_policy(policy, waited || self.policy_set.waits());
        failpoint::point(Point::DefaultWritten);
        for vm in vms {
            self.apply(records, vm);
            failpoint::point(Point::VmWritten);
        }
        // A program that has read the old default may not find now that nobody waits.
        self.settle = (waited && !self.policy_set.waits()).then(Instant::now);
    }

    /// Some time after a change.
    pub fn settle(&mut self, records: &Records) {
        if self.settle.is_some_and(|since| since.elapsed() >= SETTLE) {
            self.settle = None;
            self.apply_default(records);
        }
    }
}

/// What is known of the VMs that a change may touch.
pub fn known_vms<'a>(vms: &'a [TrackedVm], records: &[Option<Box<Vm>>]) -> Vec<KnownVm<'a>> {
    let known = vms.iter().zip(records);
    let vms = known.map(|(tracked, record)| KnownVm {
        vm: tracked.candidate(),
        sent: record.as_deref().map_or_else(|| Types::from_iter([]), sent),
        was_over: record.as_deref().is_some_and(was_over),
    });
    vms.collect()
}

/// All types that it has sent, whatever became of them.
fn sent(vm: &Vm) -> Types {
    MessageType::ALL.into_iter().filter(|kind| vm.requests[*kind as usize].total() > 0).collect()
}

fn was_over(vm: &Vm) -> bool {
    vm.decisions.iter().any(|counts| counts.get(Mode::Audit, Decision::Busy) > 0)
}

#[cfg(test)]
mod tests;
