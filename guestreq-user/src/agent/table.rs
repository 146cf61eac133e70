//! # The VMs that have records
//!
//! Gives each record a name and an end: who it is, under which label its series
//! appear, and when the slot is free again.

mod naming;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use guestreq_common::{
    message::MessageType,
    outcome::Outcome,
    vm::{Life, NO_KICK, SlotState, VmRef},
};
use log::debug;
use naming::Unread;
use tokio::sync::Notify;

pub use super::tracked::{Decided, Tracked};
use super::{
    policies::Policies,
    processes::{Found, Handler, Processes, Running},
    programs::Programs,
    records::Records,
    remembered::{Known, Remembered},
};
use crate::{
    api::events::{What, Whom},
    host::{self, Identity},
};

#[derive(Default)]
pub struct Table {
    vms: Vec<Tracked>,
    news: Vec<News>,
    last_roll_call: u64,
    processes: Processes,
    unread: Unread,
    remembered: Remembered,
}

/// What happened to a VM, and when (CLOCK_MONOTONIC, in ns).
pub type News = (Whom, What, u64);

/// How often threads that are gone, and pods, are looked for.
const ROLL_CALL_NS: u64 = 10_000_000_000;
/// How many times a VM without a pod is looked for in one then: its first PSP command can come
/// before Kata has moved it there.
const LOOKS: u8 = 6;

impl Table {
    /// What is learned late of a process notifies `wake`.
    pub fn new(wake: Arc<Notify>) -> Table {
        Table { processes: Processes::new(wake), ..Table::default() }
    }

    /// In the order in which they were found.
    pub fn vms(&self) -> &[Tracked] {
        &self.vms
    }

    pub fn vms_mut(&mut self) -> &mut [Tracked] {
        &mut self.vms
    }

    /// What has not been told yet.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Takes in what has come and gone since the last look.
    pub fn refresh(
        &mut self,
        records: &Records,
        programs: &mut Programs,
        policies: &Policies,
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
                    self.news.push((self.vms[at].whom(), What::ExitedVm {}, gone));
                }
                Some(_) => {}
            }
        }
        self.forget_questions(records, &new);
        // After the ends: a VM that was reset has its predecessor's name.
        for slot in new {
            self.welcome(records, policies, slot, now);
        }
        self.name_late(records, policies);
        self.unread.tell(now);
        if let Some(found) = self.processes.take_round() {
            self.take_pods(records, policies, found);
        }
        if now.saturating_sub(self.last_roll_call) >= ROLL_CALL_NS {
            self.last_roll_call = now;
            let without_pods = self.without_pods();
            self.processes.ask_round(without_pods);
            let freed = records.free_gone_threads(host::thread_is_there);
            if freed > 0 {
                debug!("{freed} threads ended unseen");
            }
        }
        if policies.kick() {
            self.look_for_signals(records);
        }
        self.bury(records, programs, keep, now)
    }

    /// VMs that ended without a request, as a launch that fails: the programs have given their slots
    /// to others.
    fn drop_failed(&mut self, records: &Records, now: u64) {
        let Table { vms, news, .. } = self;
        vms.retain(|vm| {
            let is_its = records.peek(vm.id.index()).is_some_and(|(it, _)| it == vm.id);
            if !is_its && !vm.exited {
                news.push((vm.whom(), What::ExitedVm {}, now));
            }
            is_its
        });
    }

    /// Those whose pods are still looked for.
    fn without_pods(&mut self) -> Vec<Running> {
        let wanted =
            |vm: &&mut Tracked| !vm.exited && vm.looks_left > 0 && vm.identity.pod_uid.is_empty();
        let ask = |vm: &mut Tracked| {
            vm.looks_left -= 1;
            Running { id: vm.id, pid: vm.tgid, started: vm.started }
        };
        self.vms.iter_mut().filter(wanted).map(ask).collect()
    }

    /// Rules may say something of the pod that a VM is found in.
    fn take_pods(&mut self, records: &Records, policies: &Policies, found: Vec<Found>) {
        for Found { vm: asked, pod_uid, because } in found {
            let is_it = |vm: &&mut Tracked| (vm.id, vm.started) == (asked.id, asked.started);
            let Some(vm) = self.vms.iter_mut().find(is_it).filter(|vm| !vm.exited) else {
                continue;
            };
            vm.looks_left = 0;
            vm.identity.pod_uid = pod_uid;
            vm.because.push(because);
            policies.apply(records, vm);
            if let Some(record) = records.vm(vm.id.index()) {
                self.remembered.put(vm.id.index(), &record, vm.known());
            }
        }
    }

    /// A VMM installs its signal handlers some time after its first command.
    fn look_for_signals(&mut self, records: &Records) {
        let Table { processes, vms, .. } = self;
        let known = |vm: &Tracked| vm.signal_read && records.has_kick(vm.id.index());
        let wanted = |vm: &&Tracked| !(vm.exited || known(vm));
        let handler =
            |vm: &Tracked| Handler { id: vm.id, pid: vm.tgid, vmm: vm.identity.vmm.clone() };
        let read = processes.signals(|| vms.iter().filter(wanted).map(handler).collect());
        for signal in read.unwrap_or_default() {
            let vm = vms.iter_mut().find(|vm| !vm.exited && vm.id == signal.id);
            if let Some(vm) = vm {
                vm.signal_read = true;
                records.set_kick(vm.id.index(), signal.signal.unwrap_or(NO_KICK));
            }
        }
    }

    fn welcome(&mut self, records: &Records, policies: &Policies, slot: usize, now: u64) {
        let Some(vm) = records.vm(slot) else { return };
        let exited = vm.life == Life::Exited as u32;
        if vm.tgid == 0 || vm.first_seen.is_never() {
            // It failed to launch just now, and its record is another one's.
            return;
        }
        let Some(who) = self.who_is(slot, &vm, exited, now) else { return };
        let unread = who.is_unread();
        let Known { identity, because, pid, started } = who.known();
        records.set_started(slot, started.unwrap_or(0));
        let label = self.unique_label(&identity, pid);
        let ordinary = MessageType::ORDINARY.iter().map(|kind| (*kind, Outcome::OK.name()));
        let tracked = Tracked {
            id: VmRef::new(slot, vm.generation),
            tgid: pid,
            started,
            label,
            identity,
            because,
            looks_left: LOOKS,
            signal_read: false,
            unread,
            exited,
            pairs: ordinary.collect(),
            decided: Vec::new(),
        };
        // At once: its requests may be waiting for it.
        policies.apply(records, &tracked);
        let seen = What::NewVm { vmm: tracked.identity.vmm.clone() };
        self.news.push((tracked.whom(), seen, vm.first_seen.0));
        if exited {
            self.news.push((tracked.whom(), What::ExitedVm {}, vm.exited.0));
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
    fn bury(
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
        let gone = |vm: &Tracked| records.vm(vm.id.index()).map_or(0, |record| record.exited.0);
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
pub fn labels(table: &Table) -> BTreeMap<VmRef, &str> {
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
