//! # Listed VMs and their order

use std::{cmp::Ordering, collections::BTreeMap};

use super::{Key, Model};
use crate::wire::{
    Vm,
    policy::{Mode, VmPolicy},
};

/// Sort keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Share,
    Rate,
    P99,
    Denied,
    Name,
}

impl Sort {
    pub fn next(self) -> Sort {
        match self {
            Sort::Share => Sort::Rate,
            Sort::Rate => Sort::P99,
            Sort::P99 => Sort::Denied,
            Sort::Denied => Sort::Name,
            Sort::Name => Sort::Share,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Sort::Share => "PSP share",
            Sort::Rate => "requests/s",
            Sort::P99 => "p99",
            Sort::Denied => "denied",
            Sort::Name => "name",
        }
    }
}

/// Requests refused in enforce, and those that audit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    pub enforced: u64,
    pub audited: u64,
}

impl Refused {
    fn of(policy: &VmPolicy, decision: &str) -> Refused {
        let count = |mode: Mode| {
            let messages = policy.decisions.get(mode.name()).into_iter().flatten();
            messages.filter_map(|(_, decisions)| decisions.get(decision)).sum()
        };
        Refused { enforced: count(Mode::Enforce), audited: count(Mode::Audit) }
    }
}

/// A VM with its policy and refusals.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub vm: &'a Vm,
    pub policy: Option<&'a VmPolicy>,
    pub denied: Refused,
    pub busy: Refused,
}

impl<'a> Row<'a> {
    fn of(vm: &'a Vm, policy: Option<&'a VmPolicy>) -> Row<'a> {
        let refused = |of| policy.map_or_else(Refused::default, |policy| Refused::of(policy, of));
        Row { vm, policy, denied: refused("deny"), busy: refused("busy") }
    }

    /// Enforced before audited, denied before busy.
    fn refused(&self) -> [u64; 4] {
        let Row { denied, busy, .. } = self;
        [denied.enforced, busy.enforced, denied.audited, busy.audited]
    }

    /// Largest first; names from A to Z.
    fn cmp(&self, other: &Row, sort: Sort) -> Ordering {
        let most = |of: fn(&Row) -> f64| of(other).total_cmp(&of(self));
        match sort {
            Sort::Share => most(|row| row.vm.recent_psp_share),
            Sort::Rate => most(|row| row.vm.recent_requests_per_second),
            Sort::P99 => most(|row| row.vm.recent_p99_seconds.unwrap_or(0.0)),
            Sort::Denied => other.refused().cmp(&self.refused()),
            Sort::Name => Ordering::Equal,
        }
    }
}

impl Model {
    /// The filtered VMs, sorted; equal ones by name, so that they keep their order.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let filter = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&filter);
        let vms = self.data.vms.vms.iter().filter(|vm| has(&vm.vm) || has(&vm.uuid));
        // Labels are unique within an answer.
        let policies = self.data.policy.vms.iter().map(|policy| (policy.vm.as_str(), policy));
        let policies: BTreeMap<&str, &VmPolicy> = policies.collect();
        let row = |vm| Row::of(vm, policies.get(vm.vm.as_str()).copied());
        let mut rows: Vec<Row> = vms.map(row).collect();
        rows.sort_by(|a, b| {
            let order = a.cmp(b, self.sort).then_with(|| a.vm.vm.cmp(&b.vm.vm));
            let order = order.then_with(|| a.vm.pid.cmp(&b.vm.pid));
            if self.reversed { order.reverse() } else { order }
        });
        rows
    }

    /// Index of the selected VM.
    pub fn selected_row(&self, rows: &[Row]) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        rows.iter().position(|row| Key::of(row.vm) == *selected)
    }

    /// The VM whose detail is shown, if it still has a record.
    pub fn detailed(&self, of: &Key) -> Option<Row<'_>> {
        let vm = self.data.vms.vms.iter().find(|vm| Key::of(vm) == *of)?;
        Some(Row::of(vm, self.data.policy.vms.iter().find(|policy| policy.vm == vm.vm)))
    }
}
