//! # Policies into records
//!
//! Writes VMs' policies where the programs read them: as soon as a VM is identified, and at each
//! change.

mod configured;

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
        Types, safety::Service,
    },
    wire::events::Time,
};

pub use configured::configured;

/// Longer than a program runs, even one that is preempted.
const PROGRAM_RUN: Duration = Duration::from_millis(500);

pub struct Policies {
    policy_set: PolicySet,
    store: Store,
    /// New VMs still wait, although no policy needs it since then.
    waiting_since: Option<Instant>,
}

impl Policies {
    /// Reads the stored overrides.
    pub fn open(config: &Config) -> Result<Policies> {
        let store = Store::new(&config.state);
        let policy_set = config.policy_set(store.read()?);
        match policy_set.contradiction() {
            Some((_, why)) => Err(anyhow!("{why}, or remove it from {}", store.path().display())),
            None => Ok(Policies { policy_set, store, waiting_since: None }),
        }
    }

    pub fn policy_set(&self) -> &PolicySet {
        &self.policy_set
    }

    /// Logs warnings about rules.
    pub fn warn(&self, service: Service) {
        for warning in self.policy_set.warnings(service) {
            warn!("{warning}");
        }
    }

    /// Writes the policy of unidentified VMs.
    pub fn apply_default(&self, records: &Records) {
        records.set_backend(self.policy_set.backend);
        self.write_default(records, false);
    }

    /// Writes it in place of an earlier agent's, as [`Policies::install`] does.
    pub fn take_over(&mut self, records: &Records) {
        let waited = records.new_vms_wait();
        records.set_backend(self.policy_set.backend);
        self.write_default(records, waited);
        self.keep_waiting(waited);
    }

    /// Writes the default; unidentified VMs wait if this policy set or, `waited`, an earlier one makes
    /// them.
    fn write_default(&self, records: &Records, waited: bool) {
        // The generation only matters in a VM's own policy.
        let policy = self.policy_set.default().to_policy(0);
        records.set_default_policy(policy, waited || self.policy_set.waits());
    }

    /// Lets VMs that waited do so for another moment, if no policy needs it any more: a running
    /// program may have read the old default.
    fn keep_waiting(&mut self, waited: bool) {
        self.waiting_since = (waited && !self.policy_set.waits()).then(Instant::now);
    }

    /// Writes a VM's policy.
    pub fn apply(&self, records: &Records, vm: &TrackedVm) {
        let policy = self.policy_set.resolve(&vm.identity).to_policy(vm.id.generation);
        records.set_policy(vm.id.index(), policy);
    }

    /// Whether vCPUs are kicked: taken out of the guest by a signal that their VMM handles.
    pub fn kick(&self) -> bool {
        self.policy_set.backend == Backend::Vcpu
    }

    fn stamp(uid: u32) -> Stamp {
        Stamp { uid, at: Time::now().to_the_second() }
    }

    /// Plans a change of one VM's policy or the default.
    pub fn plan(
        &self,
        vms: &[KnownVm<'_>],
        service: Service,
        request: &Request,
        uid: u32,
    ) -> Result<Plan, Refusal> {
        self.policy_set.plan(request, &Policies::stamp(uid), vms, service)
    }

    /// Plans a reload of the configuration.
    pub fn plan_file(
        &self,
        vms: &[KnownVm<'_>],
        service: Service,
        file: &PolicyFile,
    ) -> Result<Replacement, Refusal> {
        self.policy_set.with_file(file.clone(), vms, service)
    }

    /// Plans `policy apply`.
    pub fn plan_apply(
        &self,
        vms: &[KnownVm<'_>],
        service: Service,
        apply: &Apply,
        uid: u32,
    ) -> Result<Replacement, Refusal> {
        self.policy_set.with_applied(apply, &Policies::stamp(uid), vms, service)
    }

    /// Returns a function that stores the overrides, which may block on a disk. A change is applied
    /// only after it succeeds.
    pub fn keep(
        &self,
        policy_set: &PolicySet,
    ) -> impl FnOnce() -> Result<(), Refusal> + Send + use<> {
        let (store, overrides) = (self.store.clone(), policy_set.overrides.clone());
        move || {
            store.write(&overrides)?;
            failpoint::point(Point::OverrideKept);
            Ok(())
        }
    }

    /// Applies a policy set. Meanwhile each request is decided by its VM's old or new policy; an
    /// unresolved VM that either policy set makes wait gets neither's default until all is written.
    pub fn install(&mut self, policy_set: PolicySet, records: &Records, vms: &[TrackedVm]) {
        let waited = self.policy_set.waits() || self.waiting_since.is_some();
        self.policy_set = policy_set;
        self.write_default(records, waited);
        failpoint::point(Point::DefaultWritten);
        for vm in vms {
            self.apply(records, vm);
            failpoint::point(Point::VmWritten);
        }
        self.keep_waiting(waited);
    }

    /// Ends the wait after a change.
    pub fn finish_change(&mut self, records: &Records) {
        if self.waiting_since.is_some_and(|since| since.elapsed() >= PROGRAM_RUN) {
            self.waiting_since = None;
            self.apply_default(records);
        }
    }
}

/// The VMs that a change may affect.
pub fn known_vms<'a>(vms: &'a [TrackedVm], records: &[Option<Box<Vm>>]) -> Vec<KnownVm<'a>> {
    let known = vms.iter().zip(records);
    let vms = known.map(|(tracked, record)| KnownVm {
        vm: tracked.candidate(),
        sent: record.as_deref().map_or_else(|| Types::from_iter([]), sent),
        was_over: record.as_deref().is_some_and(was_over),
    });
    vms.collect()
}

/// All types that it has sent, with any outcome.
fn sent(vm: &Vm) -> Types {
    MessageType::ALL.into_iter().filter(|kind| vm.requests[*kind as usize].total() > 0).collect()
}

fn was_over(vm: &Vm) -> bool {
    vm.decisions.iter().any(|counts| counts.get(Mode::Audit, Decision::Busy) > 0)
}

#[cfg(test)]
mod tests;
