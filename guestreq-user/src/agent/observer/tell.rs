//! # What an observer has to tell

use super::{Observer, Tracked, now_ns};
use crate::{
    api::events::{PolicyChanged, What},
    policy::{Plan, Request, Target},
};

impl Observer {
    /// Tells what the programs could not.
    pub fn tell_losses(&mut self) {
        self.losses.tell(&self.records, &self.journal);
    }

    /// Tells what the kernel kept from the programs. Some twenty system calls.
    pub(super) fn tell_missed(&mut self) {
        let missed = self.programs.missed().probes;
        self.losses.tell_one("probe_missed", missed, &self.journal);
    }

    /// Whether the programs tell every request.
    pub fn tell_all(&self, all: bool) {
        self.records.set_tell_all(all);
    }

    /// Every change of policy is told, with who made it.
    pub(super) fn tell_change(&self, plan: &Plan, request: &Request, uid: u32) {
        let changed = PolicyChanged {
            uid,
            target: request.target.clone(),
            old: plan.old.clone(),
            new: plan.new.clone(),
        };
        let vm = self.table.vms().iter().find(|vm| match &request.target {
            Target::Default => false,
            Target::Vm(name) => vm.label == *name || (!vm.exited && vm.identity.uuid == *name),
        });
        let what = What::PolicyChanged(Box::new(changed));
        self.journal.record_of(vm.map(Tracked::whom), what, now_ns());
    }

    /// What the table has seen of VMs that came and went.
    pub(super) fn tell_news(&mut self) {
        for (vm, what, at) in self.table.take_news() {
            self.journal.record_of(Some(vm), what, at);
        }
    }
}
