//! # Who VMs are
//!
//! As an earlier agent knew, or by their process. That one may be gone, or not answer: see
//! [`crate::observe::processes`]. Then the VM waits for its name as the programs let it, and is shown
//! without one from then on, so that it hides nothing; it gets its name when its process answers.

use std::collections::BTreeMap;

use guestreq_common::{
    policy::RESOLVE_NS,
    units::MonotonicNs,
    vm::{Vm, VmRef},
};
use log::{info, warn};

use super::{Identified, LOOKS, Records, VmTable};
use crate::{
    bpf::pins::identities::Known,
    host::{Identity, system},
    observe::processes::Lookup,
};

/// For so long a process is merely slow.
const SLOW_NS: u64 = 1_000_000_000;

/// What a VM is taken for.
pub enum Who {
    /// By what its process says, or what is left of it.
    Known(Known),
    /// Its process does not answer: for now nobody.
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

/// What came of a look at a VM's processes.
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
    told: bool,
}

impl Unread {
    /// Once while there are any; there can be any number.
    pub fn tell(&mut self, now: u64) {
        let is_slow = |since: &&u64| now.saturating_sub(**since) >= SLOW_NS;
        self.slow = self.waiting.values().filter(is_slow).count();
        let any = self.slow + self.shown > 0;
        if any && !self.told {
            warn!(
                "a VM's process cannot be read: {}. Until it can, the VM has no name, and no rule \
                 that names it holds for it",
                self.why
            );
        } else if self.told && !any {
            info!("all VMs' processes could be read");
        }
        self.told = any;
    }
}

impl VmTable {
    /// How many VMs have no name because their processes cannot be read.
    pub fn unread(&self) -> usize {
        self.unread.slow + self.unread.shown
    }

    /// `None` while that may still be found out.
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
            // It is about to be decommissioned, or the next request tells who runs it.
            Read::Gone if !exited && is_new => None,
            Read::Gone if exited => Some(Who::Known(nobody("exited", vm.tgid))),
            Read::Gone => {
                warn!(
                    "pid {}: no process of a VM can be looked at, so that no rule names it: it has \
                     gone, or /proc hides it (mount option hidepid) from an agent without \
                     CAP_SYS_PTRACE",
                    vm.tgid
                );
                Some(Who::Known(nobody("unknown", vm.tgid)))
            }
            // Whoever is not known by its name would have others' policy.
            Read::Unread(why) => {
                self.unread.why = why;
                let since =
                    self.unread.waiting.entry(VmRef::new(slot, vm.generation)).or_insert(now);
                let is_slow = now.saturating_sub(*since) >= SLOW_NS;
                if exited {
                    return is_slow.then(|| Who::Known(nobody("exited", vm.tgid)));
                }
                (is_slow && !is_new).then(|| Who::Unread(nobody("unread", vm.tgid)))
            }
        }
    }

    fn read(&mut self, slot: usize, vm: &Vm, exited: bool) -> Read {
        let of = |pid, began_by| Lookup { pid, vm: VmRef::new(slot, vm.generation), began_by };
        let launcher = of(vm.tgid, vm.first_seen.0);
        // Its launcher has gone, or was never known: who runs it shares that one's memory.
        let runner = (!exited && vm.runner != vm.tgid).then(|| of(vm.runner, u64::MAX));
        for look in [Some(launcher), runner].into_iter().flatten() {
            match self.processes.look(look) {
                Some(Ok(Some(known))) => return Read::Found(known),
                Some(Ok(None)) => {}
                Some(Err(error)) => {
                    return Read::Unread(format!(
                        "{}: {error}",
                        system::host().process(look.pid).display()
                    ));
                }
                None => return Read::Unread(self.processes.why(&look)),
            }
        }
        Read::Gone
    }

    /// Those of VMs that have gone, or that have their name; `new` have none yet.
    pub(super) fn cancel_lookups(&mut self, records: &Records, new: &[usize]) {
        let new = new.iter().filter_map(|slot| Some(records.peek(*slot)?.0));
        let shown = self.vms.iter().filter(|vm| vm.unread).map(|vm| vm.id);
        let wanted: Vec<VmRef> = new.chain(shown).collect();
        self.processes.keep(|look| wanted.contains(&look.vm));
        self.unread.waiting.retain(|vm, _| wanted.contains(vm));
    }

    /// Names VMs that are shown without a name, as their processes did not answer.
    pub(super) fn name_late(&mut self, records: &Records, identified: Identified<'_>) {
        let unread: Vec<usize> = (0..self.vms.len()).filter(|at| self.vms[*at].unread).collect();
        for at in unread {
            let (slot, generation) = (self.vms[at].id.index(), self.vms[at].id.generation);
            let record = records.vm(slot).filter(|vm| vm.generation == generation);
            let Some(record) = record.filter(|_| !self.vms[at].exited) else {
                // It keeps the label that its end is counted under.
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
                    info!("VM {} has answered: it is {label}", vm.label);
                    vm.label = label;
                    (vm.identity, vm.evidence) = (known.identity, known.evidence);
                    (vm.tgid, vm.started) = (known.pid, known.started);
                    (vm.unread, vm.signal_read, vm.looks_left) = (false, false, LOOKS);
                    identified(vm);
                }
            }
        }
        self.unread.shown = self.vms.iter().filter(|vm| vm.unread).count();
        let named: Vec<_> = self.vms.iter().map(|vm| vm.id).collect();
        self.unread.waiting.retain(|vm, _| !named.contains(vm));
    }
}

/// Who has no name.
fn nobody(name: &str, pid: u32) -> Known {
    let (name, vmm) = (name.to_owned(), "unknown".to_owned());
    let identity = Identity { name, vmm, ..Identity::default() };
    Known { identity, evidence: Vec::new(), pid, started: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unread_is_counted_once_it_is_more_than_slow_and_until_it_is_read() {
        let mut unread = Unread::default();
        unread.waiting.insert(VmRef::default(), 0);
        unread.tell(SLOW_NS - 1);
        assert_eq!((unread.slow, unread.told), (0, false), "it is merely slow");
        unread.tell(SLOW_NS);
        assert_eq!((unread.slow, unread.told), (1, true));
        // From then on it is shown, if without its name.
        unread.waiting.clear();
        unread.shown = 1;
        unread.tell(SLOW_NS + 1);
        assert_eq!((unread.slow, unread.told), (0, true));
        unread.shown = 0;
        unread.tell(SLOW_NS + 2);
        assert!(!unread.told);
        // An agent that finds one of another's shows it at once.
        unread.shown = 1;
        unread.tell(SLOW_NS + 3);
        assert!(unread.told);
    }
}
