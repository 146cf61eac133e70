//! # The table of VMs
//!
//! Names the VM of each record, labels its series and frees its slot some time after it exits.

mod identity;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use guestreq_common::{
    message::MessageType,
    outcome::Outcome,
    vm::{Life, NO_KICK, VmRef},
};
use identity::Unread;
use log::debug;
use tokio::sync::Notify;

pub use crate::observe::tracked::TrackedVm;
use crate::{
    bpf::{
        pins::identities::{Known, Remembered},
        programs::Programs,
        records::Records,
    },
    host::{self, Identity},
    observe::processes::{Found, Handler, Processes, Running},
    wire::events::{EventData, EventVm},
};

#[derive(Default)]
pub struct VmTable {
    vms: Vec<TrackedVm>,
    events: Vec<VmEvent>,
    last_round: u64,
    processes: Processes,
    unread: Unread,
    remembered: Remembered,
}

/// Called at once for a VM whose identity is new or has changed: its requests may be waiting for
/// its policy.
pub type Identified<'a> = &'a dyn Fn(&TrackedVm);

/// What happened to a VM, and when (CLOCK_MONOTONIC, in ns).
pub type VmEvent = (EventVm, EventData, u64);

/// How often pods and exited threads are looked up.
const ROUND_NS: u64 = 10_000_000_000;
/// How often a VM's pod is looked up: Kata may move the VM there after its first PSP command.
const POD_LOOKUPS: u8 = 6;

impl VmTable {
    /// Late answers about processes notify `wake`.
    pub fn new(wake: Arc<Notify>) -> VmTable {
        VmTable { processes: Processes::new(wake), ..VmTable::default() }
    }

    /// In the order in which they were found.
    pub fn vms(&self) -> &[TrackedVm] {
        &self.vms
    }

    pub fn vms_mut(&mut self) -> &mut [TrackedVm] {
        &mut self.vms
    }

    /// Events that were not recorded yet.
    pub fn take_events(&mut self) -> Vec<VmEvent> {
        std::mem::take(&mut self.events)
    }

    /// Finds new and exited VMs, names and reaps. `wants_signals`: look up kick signals.
    pub fn refresh(
        &mut self,
        records: &Records,
        programs: &mut Programs,
        identified: Identified<'_>,
        wants_signals: bool,
        keep: Duration,
        now: u64,
    ) -> Result<()> {
        self.drop_failed(records, now);
        let known: BTreeMap<VmRef, usize> =
            self.vms.iter().enumerate().map(|(at, vm)| (vm.id, at)).collect();
        let mut new = Vec::new();
        for (vm, state) in records.slots() {
            let slot = vm.index();
            match known.get(&vm).copied() {
                None if state.is(Life::Free) || state.is(Life::Clearing) => {}
                None => new.push(slot),
                Some(at) if state.is(Life::Exited) && !self.vms[at].exited => {
                    self.vms[at].exited = true;
                    let gone = records.vm(slot).map_or(now, |record| record.exited.0);
                    self.events.push((self.vms[at].event_vm(), EventData::ExitedVm {}, gone));
                }
                Some(_) => {}
            }
        }
        self.cancel_lookups(records, &new);
        // After the exits: a reset VM has its predecessor's name.
        for slot in new {
            self.insert(records, identified, slot, now);
        }
        self.name_unread(records, identified);
        self.unread.report(now);
        if let Some(found) = self.processes.take_pods() {
            self.set_pods(records, identified, found);
        }
        if now.saturating_sub(self.last_round) >= ROUND_NS {
            self.last_round = now;
            let without_pods = self.without_pods();
            self.processes.start_pod_lookup(without_pods);
            let freed = records.free_exited_threads(host::thread_exists);
            if freed > 0 {
                debug!("freed records of {freed} threads whose exit was missed");
            }
        }
        if wants_signals {
            self.find_signals(records);
        }
        self.reap(records, programs, keep, now)
    }

    /// VMs that ended without a request, such as failed launches: the programs have reused their
    /// slots.
    fn drop_failed(&mut self, records: &Records, now: u64) {
        let VmTable { vms, events, .. } = self;
        vms.retain(|vm| {
            let is_current = records.peek(vm.id.index()).is_some_and(|(it, _)| it == vm.id);
            if !is_current && !vm.exited {
                events.push((vm.event_vm(), EventData::ExitedVm {}, now));
            }
            is_current
        });
    }

    /// VMs whose pods are to be looked up now.
    fn without_pods(&mut self) -> Vec<Running> {
        let wanted = |vm: &&mut TrackedVm| {
            !vm.exited && vm.pod_lookups_left > 0 && vm.identity.pod_uid.is_empty()
        };
        let running = |vm: &mut TrackedVm| {
            vm.pod_lookups_left -= 1;
            Running { id: vm.id, pid: vm.tgid, started: vm.started }
        };
        self.vms.iter_mut().filter(wanted).map(running).collect()
    }

    /// Policies may change with the pod.
    fn set_pods(&mut self, records: &Records, identified: Identified<'_>, found: Vec<Found>) {
        for Found { vm: running, pod_uid, evidence } in found {
            let is_it = |vm: &&mut TrackedVm| (vm.id, vm.started) == (running.id, running.started);
            let Some(vm) = self.vms.iter_mut().find(is_it).filter(|vm| !vm.exited) else {
                continue;
            };
            vm.pod_lookups_left = 0;
            vm.identity.pod_uid = pod_uid;
            vm.evidence.push(evidence);
            identified(vm);
            if let Some(record) = records.vm(vm.id.index()) {
                self.remembered.put(vm.id.index(), &record, vm.known());
            }
        }
    }

    /// A VMM installs its signal handlers some time after its first command.
    fn find_signals(&mut self, records: &Records) {
        let VmTable { processes, vms, .. } = self;
        let known = |vm: &TrackedVm| vm.signal_read && records.has_kick(vm.id.index());
        let wanted = |vm: &&TrackedVm| !(vm.exited || known(vm));
        let handler =
            |vm: &TrackedVm| Handler { id: vm.id, pid: vm.tgid, vmm: vm.identity.vmm.clone() };
        let read = processes.signals(|| vms.iter().filter(wanted).map(handler).collect());
        for signal in read.unwrap_or_default() {
            let vm = vms.iter_mut().find(|vm| !vm.exited && vm.id == signal.id);
            if let Some(vm) = vm {
                vm.signal_read = true;
                records.set_kick(vm.id.index(), signal.signal.unwrap_or(NO_KICK));
            }
        }
    }

    fn insert(&mut self, records: &Records, identified: Identified<'_>, slot: usize, now: u64) {
        let Some(vm) = records.vm(slot) else { return };
        let exited = vm.life == Life::Exited as u32;
        if vm.tgid == 0 || vm.first_seen.is_never() {
            // It failed to launch just now, and its record is another one's.
            return;
        }
        let Some(who) = self.identity_of(slot, &vm, exited, now) else { return };
        let unread = who.is_unread();
        let Known { identity, evidence, pid, started } = who.known();
        records.set_started(slot, started.unwrap_or(0));
        let label = self.unique_label(&identity, pid);
        let ordinary = MessageType::ORDINARY.iter().map(|kind| (*kind, Outcome::OK.name()));
        let tracked = TrackedVm {
            id: VmRef::new(slot, vm.generation),
            tgid: pid,
            started,
            label,
            identity,
            evidence,
            pod_lookups_left: POD_LOOKUPS,
            signal_read: false,
            unread,
            exited,
            pairs: ordinary.collect(),
            decided: Vec::new(),
        };
        identified(&tracked);
        let seen = EventData::NewVm { vmm: tracked.identity.vmm.clone() };
        self.events.push((tracked.event_vm(), seen, vm.first_seen.0));
        if exited {
            self.events.push((tracked.event_vm(), EventData::ExitedVm {}, vm.exited.0));
        }
        self.vms.push(tracked);
    }

    /// The VM's own name, followed by its pid if another VM has that label, and by a number if that
    /// is not enough. An exited VM's label goes to its successor of the same name.
    fn unique_label(&mut self, identity: &Identity, tgid: u32) -> String {
        let name = host::label(identity, tgid);
        if !identity.named {
            return self.free_label(&name);
        }
        match self.vms.iter().position(|vm| vm.label == name) {
            None => name,
            Some(at) if self.vms[at].exited => {
                self.vms[at].label = self.free_label(&format!("{name}@{}", self.vms[at].tgid));
                name
            }
            Some(_) => self.free_label(&format!("{name}@{tgid}")),
        }
    }

    /// A label that no VM has, exited ones included: duplicate series are dropped when scraped.
    fn free_label(&self, label: &str) -> String {
        let is_free = |label: &str| self.vms.iter().all(|vm| vm.label != label);
        if is_free(label) {
            return label.to_owned();
        }
        let mut numbered = (2u64..).map(|number| format!("{label}.{number}"));
        // Always found: there are more numbers than VMs.
        numbered.find(|label| is_free(label)).unwrap_or_default()
    }

    /// Frees the slots of VMs that exited more than `keep` ago, and if slots become scarce, of
    /// those that exited first. Running VMs always keep theirs.
    fn reap(
        &mut self,
        records: &Records,
        programs: &mut Programs,
        keep: Duration,
        now: u64,
    ) -> Result<()> {
        let keep = u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX);
        // Exited VMs must leave an eighth of the slots free for new ones.
        let max = records.max_vms();
        let scarce = (self.vms.len() + max / 8).saturating_sub(max);
        let gone = |vm: &TrackedVm| records.vm(vm.id.index()).map_or(0, |record| record.exited.0);
        let exits = self.vms.iter().filter(|vm| vm.exited);
        let mut exits: Vec<Exit> = exits
            .map(|vm| Exit { at: gone(vm), slot: vm.id.index(), process: vm.process() })
            .collect();
        exits.sort_unstable();
        let freed = due(&exits, scarce, keep, now);
        self.vms.retain(|vm| !freed.contains(&vm.id.index()));
        for slot in freed {
            self.remembered.remove(slot);
            records.clear_vm(slot);
            programs.free_slot(slot as u32)?;
            records.set_free(slot);
        }
        Ok(())
    }

    pub fn find(&self, id: VmRef) -> Option<&TrackedVm> {
        self.vms.iter().find(|vm| vm.id == id)
    }

    /// Numbers of running and exited VMs.
    pub fn counts(&self) -> (usize, usize) {
        let exited = self.vms.iter().filter(|vm| vm.exited).count();
        (self.vms.len() - exited, exited)
    }
}

/// An exited VM.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Exit {
    at: u64,
    slot: usize,
    /// Its pid and that process' start.
    process: (u32, Option<u64>),
}

/// How long each exited VM can be scraped, unless slots are scarce.
const SCRAPED_NS: u64 = 60_000_000_000;

/// The slots to free, given VMs in the order of their exits: the first ones if slots are scarce,
/// those that exited more than `keep` ago, and after a minute those of a process that had a later
/// VM exit. So a VMM that relaunches again and again has few records.
fn due(exits: &[Exit], scarce: usize, keep: u64, now: u64) -> Vec<usize> {
    let is_due = |i: usize, exit: &Exit| {
        i < scarce
            || now.saturating_sub(exit.at) > keep
            || now.saturating_sub(exit.at) > SCRAPED_NS
                && exits[i + 1..].iter().any(|later| later.process == exit.process)
    };
    exits
        .iter()
        .enumerate()
        .filter(|(i, exit)| is_due(*i, exit))
        .map(|(_, exit)| exit.slot)
        .collect()
}

#[cfg(test)]
mod tests;
