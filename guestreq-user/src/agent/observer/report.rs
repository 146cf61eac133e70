//! # What an observer has to tell

use super::{Observer, Tracked, now_ns};
use crate::{
    policy::{Difference, Plan, Target},
    wire::events::{PolicyChanged, What},
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
    pub(super) fn tell_change(&self, plan: &Plan, uid: u32) {
        self.tell_changed(PolicyChanged {
            uid,
            target: plan.target.clone(),
            old: plan.old.clone(),
            new: plan.new.clone(),
        });
    }

    /// The same of a file that was applied, for each that it changes.
    pub(super) fn tell_differences(&self, differences: &[Difference], uid: u32) {
        for Difference { vm, old, new } in differences {
            let target = vm.clone().map_or(Target::Default, Target::Vm);
            self.tell_changed(PolicyChanged { uid, target, old: old.clone(), new: new.clone() });
        }
    }

    fn tell_changed(&self, changed: PolicyChanged) {
        let vm = self.table.vms().iter().find(|vm| match &changed.target {
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
