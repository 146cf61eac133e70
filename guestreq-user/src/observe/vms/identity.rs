//! # VMs' identities
//!
//! Saved by an earlier agent, or read from the process. That may have exited, or not answer (see
//! [`crate::observe::processes`]): the VM is then shown without a name once the programs stop
//! waiting for its policy, and named as soon as its process answers.

use std::collections::BTreeMap;

use guestreq_common::{
    policy::RESOLVE_NS,
    units::MonotonicNs,
    vm::{Vm, VmRef},
};
use log::{info, warn};

use super::{Identified, POD_LOOKUPS, Records, VmTable};
use crate::{
    bpf::pins::identities::Known,
    host::{Identity, system},
    observe::processes::Lookup,
};

/// How long a process may take to answer before that is reported.
const SLOW_NS: u64 = 1_000_000_000;

pub enum Who {
    /// Final: read from its process, saved, or of an exited process.
    Known(Known),
    /// A placeholder: its process does not answer.
    Unread(Known),
}

impl Who {
    pub fn is_unread(&self) -> bool {
        matches!(self, Who::Unread(_))
    }

    pub fn known(self) -> Known {
        match self {
            Who::Known(known) | Who::Unread(known) => known,
        }
    }
}

/// Result of reading a VM's processes.
enum Read {
    Found(Known),
    Gone,
    /// With the reason.
    Unread(String),
}

/// VMs whose processes are unread.
#[derive(Default)]
pub struct Unread {
    /// Since when some wait for their names.
    waiting: BTreeMap<VmRef, u64>,
    /// How many of these have waited for longer than a process is merely slow.
    slow: usize,
    /// How many are shown without a name.
    shown: usize,
    /// The last one's reason.
    why: String,
    reported: bool,
}

impl Unread {
    /// Logs when there are any and when there are none again, not each.
    pub fn report(&mut self, now: u64) {
        let is_slow = |since: &&u64| now.saturating_sub(**since) >= SLOW_NS;
        self.slow = self.waiting.values().filter(is_slow).count();
        let any = self.slow + self.shown > 0;
        if any && !self.reported {
            warn!(
                "cannot read a VM's process: {}; until then no rule matches the VM by name",
                self.why
            );
        } else if self.reported && !any {
            info!("read the processes of all VMs");
        }
        self.reported = any;
    }
}

impl VmTable {
    /// How many VMs have no name because their processes cannot be read.
    pub fn unread(&self) -> usize {
        self.unread.slow + self.unread.shown
    }

    /// `None` while it may still be read.
    pub(super) fn identity_of(
        &mut self,
        slot: usize,
        vm: &Vm,
        exited: bool,
        now: u64,
    ) -> Option<Who> {
        if let Some(known) = self.remembered.get(slot, vm) {
            return Some(Who::Known(known));
        }
        let is_new = MonotonicNs(now).since(vm.first_seen) < RESOLVE_NS;
        match self.read(slot, vm, exited) {
            Read::Found(known) => {
                self.remembered.put(slot, vm, known.clone());
                Some(Who::Known(known))
            }
            // It is about to be decommissioned, or its next request shows its VMM's pid.
            Read::Gone if !exited && is_new => None,
            Read::Gone if exited => Some(Who::Known(placeholder("exited", vm.tgid))),
            Read::Gone => {
                warn!(
                    "pid {}: cannot read a VM's process, so no rule matches the VM by name: the \
                     process exited, or /proc (mounted with hidepid) hides it from an agent \
                     without CAP_SYS_PTRACE",
                    vm.tgid
                );
                Some(Who::Known(placeholder("unknown", vm.tgid)))
            }
            // Not shown at first: without its name it would get the default policy.
            Read::Unread(why) => {
                self.unread.why = why;
                let since =
                    self.unread.waiting.entry(VmRef::new(slot, vm.generation)).or_insert(now);
                let is_slow = now.saturating_sub(*since) >= SLOW_NS;
                if exited {
                    return is_slow.then(|| Who::Known(placeholder("exited", vm.tgid)));
                }
                (is_slow && !is_new).then(|| Who::Unread(placeholder("unread", vm.tgid)))
            }
        }
    }

    fn read(&mut self, slot: usize, vm: &Vm, exited: bool) -> Read {
        let of = |pid, began_by| Lookup { pid, vm: VmRef::new(slot, vm.generation), began_by };
        let launcher = of(vm.tgid, vm.first_seen.0);
        // Its launcher has gone, or was never known: who runs it shares that one's memory.
        let runner = (!exited && vm.runner != vm.tgid).then(|| of(vm.runner, u64::MAX));
        for lookup in [Some(launcher), runner].into_iter().flatten() {
            match self.processes.look_up(lookup) {
                Some(Ok(Some(known))) => return Read::Found(known),
                Some(Ok(None)) => {}
                Some(Err(error)) => {
                    return Read::Unread(format!(
                        "{}: {error}",
                        system::host().process(lookup.pid).display()
                    ));
                }
                None => return Read::Unread(self.processes.unread_reason(&lookup)),
            }
        }
        Read::Gone
    }

    /// Drops lookups of exited and named VMs; `new` ones have no name yet.
    pub(super) fn cancel_lookups(&mut self, records: &Records, new: &[usize]) {
        let new = new.iter().filter_map(|slot| Some(records.peek(*slot)?.0));
        let shown = self.vms.iter().filter(|vm| vm.unread).map(|vm| vm.id);
        let wanted: Vec<VmRef> = new.chain(shown).collect();
        self.processes.keep(|look| wanted.contains(&look.vm));
        self.unread.waiting.retain(|vm, _| wanted.contains(vm));
    }

    /// Names VMs that are shown without a name once their processes answer.
    pub(super) fn name_unread(&mut self, records: &Records, identified: Identified<'_>) {
        let unread: Vec<usize> = (0..self.vms.len()).filter(|at| self.vms[*at].unread).collect();
        for at in unread {
            let (slot, generation) = (self.vms[at].id.index(), self.vms[at].id.generation);
            let record = records.vm(slot).filter(|vm| vm.generation == generation);
            let Some(record) = record.filter(|_| !self.vms[at].exited) else {
                // It exited: it keeps its label.
                self.vms[at].unread = false;
                continue;
            };
            match self.read(slot, &record, false) {
                Read::Unread(_) => {}
                Read::Gone => self.vms[at].unread = false,
                Read::Found(known) => {
                    self.remembered.put(slot, &record, known.clone());
                    records.set_started(slot, known.started.unwrap_or(0));
                    let label = self.unique_label(&known.identity, known.pid);
                    let vm = &mut self.vms[at];
                    info!("VM {} is {label:?}: its process answered", vm.label);
                    vm.label = label;
                    (vm.identity, vm.evidence) = (known.identity, known.evidence);
                    (vm.tgid, vm.started) = (known.pid, known.started);
                    (vm.unread, vm.signal_read, vm.pod_lookups_left) = (false, false, POD_LOOKUPS);
                    identified(vm);
                }
            }
        }
        self.unread.shown = self.vms.iter().filter(|vm| vm.unread).count();
        let named: Vec<_> = self.vms.iter().map(|vm| vm.id).collect();
        self.unread.waiting.retain(|vm, _| !named.contains(vm));
    }
}

fn placeholder(name: &str, pid: u32) -> Known {
    let (name, vmm) = (name.to_owned(), "unknown".to_owned());
    let identity = Identity { name, vmm, ..Identity::default() };
    Known { identity, evidence: Vec::new(), pid, started: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unread_vm_is_reported_after_a_second_and_until_it_is_read() {
        let mut unread = Unread::default();
        unread.waiting.insert(VmRef::default(), 0);
        unread.report(SLOW_NS - 1);
        assert_eq!((unread.slow, unread.reported), (0, false), "it is merely slow");
        unread.report(SLOW_NS);
        assert_eq!((unread.slow, unread.reported), (1, true));
        // From then on it is shown, if without its name.
        unread.waiting.clear();
        unread.shown = 1;
        unread.report(SLOW_NS + 1);
        assert_eq!((unread.slow, unread.reported), (0, true));
        unread.shown = 0;
        unread.report(SLOW_NS + 2);
        assert!(!unread.reported);
        // A new agent shows an earlier one's unread VM at once.
        unread.shown = 1;
        unread.report(SLOW_NS + 3);
        assert!(unread.reported);
    }
}
