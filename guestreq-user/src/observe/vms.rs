//! # The VMs that have records
//!
//! Gives each record a name and an end: who it is, under which label its series
//! appear, and when the slot is free again.

mod labels;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use guestreq_common::{
    message::MessageType,
    outcome::Outcome,
    vm::{Life, NO_KICK, SlotState, VmRef},
};
use labels::Unread;
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
    news: Vec<VmEvent>,
    last_round: u64,
    processes: Processes,
    unread: Unread,
    remembered: Remembered,
}

/// What happened to a VM, and when (CLOCK_MONOTONIC, in ns).
/// Called at once for a VM whose identity is new or has changed: its requests may be waiting for
/// its policy.
pub type Identified<'a> = &'a dyn Fn(&TrackedVm);

pub type VmEvent = (EventVm, EventData, u64);

/// How often threads that are gone, and pods, are looked for.
const ROUND_NS: u64 = 10_000_000_000;
/// How many times a VM without a pod is looked for in one then: its first PSP command can come
/// before Kata has moved it there.
const LOOKS: u8 = 6;

impl VmTable {
    /// What is learned late of a process notifies `wake`.
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

    /// What has not been told yet.
    pub fn take_events(&mut self) -> Vec<VmEvent> {
        std::mem::take(&mut self.news)
    }

    /// Takes in what has come and gone since the last look. `wants_signals`: signals that kick vCPUs
    /// are looked up.
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
        for slot in 0..records.max_vms() {
            let Some((vm, state)) = records.peek(slot) else { break };
            match known.get(&vm).copied() {
                None if state.is(Life::Free) || state.is(Life::Clearing) => {
                    // Slots are handed out from the bottom: beyond one that no VM ever had, none
                    // has another. One more is looked at, as two vCPUs may race for a slot.
                    let (_, next) = records.peek(slot + 1).unwrap_or_default();
                    if [state, next] == [SlotState::default(); 2] {
                        break;
                    }
                }
                None => new.push(slot),
                Some(at) if state.is(Life::Exited) && !self.vms[at].exited => {
                    self.vms[at].exited = true;
                    let gone = records.vm(slot).map_or(now, |record| record.exited.0);
                    self.news.push((self.vms[at].event_vm(), EventData::ExitedVm {}, gone));
                }
                Some(_) => {}
            }
        }
        self.cancel_lookups(records, &new);
        // After the ends: a VM that was reset has its predecessor's name.
        for slot in new {
            self.insert(records, identified, slot, now);
        }
        self.name_late(records, identified);
        self.unread.tell(now);
        if let Some(found) = self.processes.take_round() {
            self.set_pods(records, identified, found);
        }
        if now.saturating_sub(self.last_round) >= ROUND_NS {
            self.last_round = now;
            let without_pods = self.without_pods();
            self.processes.ask_round(without_pods);
            let freed = records.free_gone_threads(host::thread_is_there);
            if freed > 0 {
                debug!("{freed} threads ended unseen");
            }
        }
        if wants_signals {
            self.find_signals(records);
        }
        self.reap(records, programs, keep, now)
    }

    /// VMs that ended without a request, as a launch that fails: the programs have given their slots
    /// to others.
    fn drop_failed(&mut self, records: &Records, now: u64) {
        let VmTable { vms, news, .. } = self;
        vms.retain(|vm| {
            let is_its = records.peek(vm.id.index()).is_some_and(|(it, _)| it == vm.id);
            if !is_its && !vm.exited {
                news.push((vm.event_vm(), EventData::ExitedVm {}, now));
            }
            is_its
        });
    }

    /// Those whose pods are still looked for.
    fn without_pods(&mut self) -> Vec<Running> {
        let wanted =
            |vm: &&mut TrackedVm| !vm.exited && vm.looks_left > 0 && vm.identity.pod_uid.is_empty();
        let ask = |vm: &mut TrackedVm| {
            vm.looks_left -= 1;
            Running { id: vm.id, pid: vm.tgid, started: vm.started }
        };
        self.vms.iter_mut().filter(wanted).map(ask).collect()
    }

    /// Rules may say something of the pod that a VM is found in.
    fn set_pods(&mut self, records: &Records, identified: Identified<'_>, found: Vec<Found>) {
        for Found { vm: asked, pod_uid, evidence } in found {
            let is_it = |vm: &&mut TrackedVm| (vm.id, vm.started) == (asked.id, asked.started);
            let Some(vm) = self.vms.iter_mut().find(is_it).filter(|vm| !vm.exited) else {
                continue;
            };
            vm.looks_left = 0;
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
            looks_left: LOOKS,
            signal_read: false,
            unread,
            exited,
            pairs: ordinary.collect(),
            decided: Vec::new(),
        };
        // At once: its requests may be waiting for it.
        identified(&tracked);
        let seen = EventData::NewVm { vmm: tracked.identity.vmm.clone() };
        self.news.push((tracked.event_vm(), seen, vm.first_seen.0));
        if exited {
            self.news.push((tracked.event_vm(), EventData::ExitedVm {}, vm.exited.0));
        }
        self.vms.push(tracked);
    }

    /// A VM's own name is its label, unless another has it; then the pid is added, and a number if
    /// that is not enough. A VM that has gone makes way for its successor of the same name.
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

    /// A label that no VM has, one that has gone included: two series of the same labels would be
    /// dropped by whoever scrapes them.
    fn free_label(&self, label: &str) -> String {
        let is_free = |label: &str| self.vms.iter().all(|vm| vm.label != label);
        if is_free(label) {
            return label.to_owned();
        }
        let mut numbered = (2u64..).map(|number| format!("{label}.{number}"));
        // One of as many as there are VMs and one more is free.
        numbered.find(|label| is_free(label)).unwrap_or_default()
    }

    /// Frees the slots of VMs that went long enough ago, and where slots become scarce, of those
    /// that went first. One that runs never makes way, however quiet it is, and whatever became of
    /// the process that launched it.
    fn reap(
        &mut self,
        records: &Records,
        programs: &mut Programs,
        keep: Duration,
        now: u64,
    ) -> Result<()> {
        let keep = u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX);
        // An eighth of the slots stays free for VMs to come, as far as it is up to us.
        let max = records.max_vms();
        let scarce = (self.vms.len() + max / 8).saturating_sub(max);
        let gone = |vm: &TrackedVm| records.vm(vm.id.index()).map_or(0, |record| record.exited.0);
        let ends = self.vms.iter().filter(|vm| vm.exited);
        let mut ends: Vec<End> = ends
            .map(|vm| End { at: gone(vm), slot: vm.id.index(), process: vm.process() })
            .collect();
        ends.sort_unstable();
        let freed = due(&ends, scarce, keep, now);
        self.vms.retain(|vm| !freed.contains(&vm.id.index()));
        for slot in freed {
            self.remembered.remove(slot);
            records.clear_vm(slot);
            programs.free_slot(slot as u32)?;
            records.set_free(slot);
        }
        Ok(())
    }

    /// How many VMs run and how many have gone.
    pub fn counts(&self) -> (usize, usize) {
        let exited = self.vms.iter().filter(|vm| vm.exited).count();
        (self.vms.len() - exited, exited)
    }
}

/// Labels by slot, for whoever needs many.
pub fn labels(table: &VmTable) -> BTreeMap<VmRef, &str> {
    table.vms.iter().map(|vm| (vm.id, vm.label.as_str())).collect()
}

/// A VM's end: when, where its record stands, and whose it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: u64,
    slot: usize,
    /// Its process and that one's start.
    process: (u32, Option<u64>),
}

/// How long each VM's end is there to be scraped, unless slots are scarce.
const SCRAPED_NS: u64 = 60_000_000_000;

/// Whose records make way, of VMs that went in this order: the first ones where slots are scarce,
/// those that went longer ago than they are kept, and after a minute those whose process has had
/// another end since. So a VMM that launches again and again has few records of the past.
fn due(ends: &[End], scarce: usize, keep: u64, now: u64) -> Vec<usize> {
    let is_due = |i: usize, end: &End| {
        i < scarce
            || now.saturating_sub(end.at) > keep
            || now.saturating_sub(end.at) > SCRAPED_NS
                && ends[i + 1..].iter().any(|later| later.process == end.process)
    };
    ends.iter().enumerate().filter(|(i, end)| is_due(*i, end)).map(|(_, end)| end.slot).collect()
}

#[cfg(test)]
mod tests;
