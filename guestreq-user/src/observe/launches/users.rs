//! # Who uses the PSP while a launch waits for it

use std::{cmp::Reverse, collections::BTreeMap};

use guestreq_common::{
    command::{Class, SNP_DECOMMISSION},
    launch::EndedLaunch,
    vm::{Life, SlotState, VmRef},
};

use crate::{bpf::records::Records, observe::tracked::TrackedVm};

/// Most VMs that a launch remembers; those that used least count as the host.
const MAX_USERS: usize = 64;
/// Index in `Launch::stage_ns`.
const PSP_SERVICE: usize = 1;
/// How many are shown.
const SHOWN: usize = 3;

/// The PSP's time in ns by VM's label; without one, for commands that name no VM, and for VMs that
/// have no name or no record any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<Option<String>, u64>);

impl Users {
    /// Adds what others used meanwhile.
    pub fn add(&mut self, used: &[Used], own: VmRef) {
        for Used { label, ns, .. } in used.iter().filter(|used| used.vm != Some(own)) {
            *self.0.entry(label.clone()).or_default() += ns;
        }
        while self.0.len() > MAX_USERS {
            let named = self.0.iter().filter(|(label, _)| label.is_some());
            let least = named.min_by_key(|(_, ns)| **ns).map(|(label, _)| label.clone());
            let Some(ns) = least.and_then(|label| self.0.remove(&label)) else { return };
            *self.0.entry(None).or_default() += ns;
        }
    }

    /// Those that used most, and how long.
    pub fn most(&self) -> Vec<(Option<String>, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(label, ns)| (label.clone(), *ns)).collect();
        all.sort_by_key(|(_, ns)| Reverse(*ns));
        all.truncate(SHOWN);
        all
    }
}

/// What a VM, or the host, used since the last reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub vm: Option<VmRef>,
    pub label: Option<String>,
    pub ns: u64,
}

/// The last reading of the PSP's time.
#[derive(Default)]
pub struct Meter(Option<Reading>);

struct Reading {
    /// By VM with a record.
    vms: BTreeMap<VmRef, Times>,
    busy_ns: u64,
    decommission_ns: u64,
}

#[derive(Clone, Copy, Default)]
struct Times {
    all: u64,
    /// Of commands that are neither requests nor a launch's, as SNP_DECOMMISSION.
    other: u64,
    exited: bool,
}

impl Meter {
    /// What was used since the last reading: nothing at the first, or if nobody wants it. `ended`:
    /// launches that ended since then. A failed one's record is cleared, but the launch has its time.
    pub fn read<'a>(
        &mut self,
        records: &Records,
        vms: &[TrackedVm],
        ended: impl Iterator<Item = &'a EndedLaunch>,
        wanted: bool,
    ) -> Vec<Used> {
        let mut launched: BTreeMap<VmRef, u64> =
            ended.map(|ended| (ended.vm, ended.launch.stage_ns[PSP_SERVICE])).collect();
        let now = Reading::of(records);
        let before = self.0.replace(now);
        let (true, Some(before), Some(now)) = (wanted, before, &self.0) else { return Vec::new() };
        let labels: BTreeMap<VmRef, &str> =
            vms.iter().map(|vm| (vm.id, vm.label.as_str())).collect();
        // Of those that are gone; a record that still exists has its launch's time.
        launched.retain(|vm, _| !now.vms.contains_key(vm));
        for vm in before.vms.keys().filter(|vm| !now.vms.contains_key(vm)) {
            launched.entry(*vm).or_default();
        }
        let mut decommissions = now.decommission_ns.saturating_sub(before.decommission_ns);
        let mut gained = Vec::new();
        for (vm, times) in &now.vms {
            let old = before.vms.get(vm).copied().unwrap_or_default();
            if times.exited && !old.exited {
                decommissions = decommissions.saturating_sub(times.other.saturating_sub(old.other));
            }
            gained.push((vm, times.all.saturating_sub(old.all)));
        }
        // No record has the ends of the others any more: one each.
        let each = decommissions.checked_div(launched.len() as u64).unwrap_or(0);
        for (vm, ns) in &launched {
            let old = before.vms.get(vm).copied().unwrap_or_default();
            gained.push((vm, ns.saturating_sub(old.all) + each));
        }
        let mut host = now.busy_ns.saturating_sub(before.busy_ns);
        let mut used = Vec::new();
        for (vm, ns) in gained.into_iter().filter(|(_, ns)| *ns > 0) {
            host = host.saturating_sub(ns);
            let label = labels.get(vm).map(|label| (*label).to_owned());
            used.push(Used { vm: Some(*vm), label, ns });
        }
        if host > 0 {
            used.push(Used { vm: None, label: None, ns: host });
        }
        used
    }
}

impl Reading {
    fn of(records: &Records) -> Reading {
        let times = |(vm, state): (VmRef, SlotState)| {
            let by_class = records.psp_ns(vm)?;
            let (all, other) = (by_class.iter().sum(), by_class[Class::Other as usize]);
            Some((vm, Times { all, other, exited: state.is(Life::Exited) }))
        };
        let is_vm =
            |(_, state): &(VmRef, SlotState)| state.is(Life::Running) || state.is(Life::Exited);
        Reading {
            vms: records.slots().filter(is_vm).filter_map(times).collect(),
            busy_ns: records.busy_ns(),
            decommission_ns: records.busy_ns_of(SNP_DECOMMISSION),
        }
    }
}
