//! # Events that the observer records

use super::{Observer, TrackedVm, now_ns};
use crate::{
    host,
    policy::{Difference, Plan, Target},
    wire::events::{EventData, PolicyChanged},
};

impl Observer {
    /// Reports what the programs could not.
    pub fn report_losses(&mut self) {
        self.losses.report(&self.records, &self.journal);
    }

    /// Reports hits that the kernel skipped. Some twenty system calls.
    pub(super) fn report_missed(&mut self) {
        let missed = self.programs.missed().probes;
        self.losses.report_one("probe_missed", missed, &self.journal);
    }

    /// Whether the programs report every request.
    pub fn report_all(&self, all: bool) {
        self.records.set_report_all(all);
    }

    /// Reports a policy change and the uid that made it.
    pub(super) fn report_change(&self, plan: &Plan, uid: u32) {
        self.report_changed(PolicyChanged {
            uid,
            target: plan.target.clone(),
            old: plan.old.clone(),
            new: plan.new.clone(),
        });
    }

    /// Reports each policy that an applied file changes.
    pub(super) fn report_differences(&self, differences: &[Difference], uid: u32) {
        for Difference { vm, old, new } in differences {
            let target = vm.clone().map_or(Target::Default, Target::Vm);
            self.report_changed(PolicyChanged { uid, target, old: old.clone(), new: new.clone() });
        }
    }

    fn report_changed(&self, changed: PolicyChanged) {
        let vm = self.table.vms().iter().find(|vm| match &changed.target {
            Target::Default => false,
            Target::Vm(name) => vm.label == *name || (!vm.exited && vm.identity.uuid == *name),
        });
        let what = EventData::PolicyChanged(Box::new(changed));
        self.journal.record_of(vm.map(TrackedVm::event_vm), what, now_ns());
    }

    /// Reports new and exited VMs, and ended launches.
    pub(super) fn report_events(&mut self) {
        let mut events = self.table.take_events();
        let Observer { launches, records, table, .. } = self;
        events.extend(launches.settle(records, table.vms(), now_ns(), host::thread_exists));
        // A VM's launch ends after the VM is seen, and a failed one before its VM is gone.
        events.sort_by_key(|(.., at)| *at);
        for (vm, what, at) in events {
            self.journal.record_of(Some(vm), what, at);
        }
        if let Some(lost) = self.launches.take_lost() {
            self.journal.record(EventData::Lost(lost));
        }
    }
}
