//! # The VMs that have records
//!
//! Gives each record a name and an end: who it is, under which label its series
//! appear, and when the slot is free again.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use guestreq_common::{
    message::Kind,
    outcome,
    vm::{Life, Vm},
};
use log::{debug, info, warn};

pub use super::tracked::{Decided, Tracked};
use super::{
    policies::Policies,
    programs::Programs,
    records::{Records, now_ns},
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
    /// A new VM could not be looked at, and that was told.
    unread: bool,
}

/// What happened to a VM, and when (CLOCK_MONOTONIC, in ns).
pub type News = (Whom, What, u64);

/// How often running VMs' processes are looked for.
const ROLL_CALL_NS: u64 = 10_000_000_000;
/// How many times a VM without a pod is looked for in one then: its first PSP command can come
/// before Kata has moved it there.
const LOOKS: u8 = 6;

impl Table {
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
        for slot in 0..records.max_vms() {
            let Some((generation, life)) = records.peek(slot) else { break };
            let known =
                self.vms.iter().position(|vm| vm.slot == slot && vm.generation == generation);
            match known {
                None if life == Life::Free as u32 || life == Life::Clearing as u32 => {
                    // Slots are handed out from the bottom: beyond one that no VM ever had, none
                    // has another. One more is looked at, as two vCPUs may race for a slot.
                    let next = records.peek(slot + 1).unwrap_or_default();
                    if (generation, life) == (0, 0) && next == (0, 0) {
                        break;
                    }
                }
                None => self.welcome(records, programs, policies, slot)?,
                Some(at) if life == Life::Exited as u32 && !self.vms[at].exited => {
                    self.vms[at].exited = true;
                    let gone = records.vm(slot).map_or(now, |record| record.exited);
                    self.news.push((self.vms[at].whom(), What::ExitedVm {}, gone));
                }
                Some(_) => {}
            }
        }
        if now.saturating_sub(self.last_roll_call) >= ROLL_CALL_NS {
            self.last_roll_call = now;
            self.roll_call(records, programs, now)?;
            let freed = records.free_gone_threads(host::thread_is_there);
            if freed > 0 {
                debug!("{freed} threads ended unseen");
            }
            self.look_for_pods(records, policies);
        }
        // A VMM installs its signal handlers some time after its first command.
        for vm in self.vms.iter().filter(|vm| !vm.exited && !records.has_kick(vm.slot)) {
            policies.apply_kick(records, vm);
        }
        self.bury(records, programs, keep, now)
    }

    /// Ends VMs whose process is gone though no program saw it go: one whose first request
    /// came from a thread that outlived its process' first.
    fn roll_call(&mut self, records: &Records, programs: &mut Programs, now: u64) -> Result<()> {
        for vm in self.vms.iter_mut().filter(|vm| !vm.exited) {
            // One that cannot be looked at now is there until the opposite is known.
            let started = host::start_ticks(vm.tgid).unwrap_or(vm.started);
            if vm.started.is_none() || started != vm.started {
                // First: whoever finds the record's generation changed looks there.
                programs.forget_process(vm.tgid, vm.slot as u32)?;
                vm.generation = records.end_vm(vm.slot, vm.generation, now);
                vm.exited = true;
                self.news.push((vm.whom(), What::ExitedVm {}, now));
            }
        }
        Ok(())
    }

    /// Rules may say something of the pod that a VM is found in.
    fn look_for_pods(&mut self, records: &Records, policies: &Policies) {
        for vm in self.vms.iter_mut().filter(|vm| !vm.exited && vm.looks_left > 0) {
            vm.looks_left -= 1;
            if !vm.identity.pod_uid.is_empty() {
                vm.looks_left = 0;
            } else if let Some(pod_uid) = host::pod_uid(vm.tgid) {
                vm.identity.pod_uid = pod_uid;
                policies.apply(records, vm);
            }
        }
    }

    fn welcome(
        &mut self,
        records: &Records,
        programs: &mut Programs,
        policies: &Policies,
        slot: usize,
    ) -> Result<()> {
        let Some(mut vm) = records.vm(slot) else { return Ok(()) };
        let looked = host::start_ticks(vm.tgid).and_then(|at| Ok((at, host::identify(vm.tgid)?)));
        let (started, identity) = match looked {
            Ok(found) => found,
            Err(error) => {
                // Whoever is not known by its name would have others' policy.
                if !std::mem::replace(&mut self.unread, true) {
                    warn!("pid {}: a new VM that cannot be looked at yet: {error}", vm.tgid);
                }
                return Ok(());
            }
        };
        self.unread = false;
        let mut exited = vm.life == Life::Exited as u32;
        let mut started = started.filter(|_| !exited);
        if let Some(ticks) = started.filter(|ticks| !is_its(*ticks, &vm)) {
            info!("pid {} began at {ticks}, after the VM of that pid, which has gone", vm.tgid);
            programs.forget_process(vm.tgid, slot as u32)?;
            vm.generation = records.end_vm(slot, vm.generation, now_ns());
            (exited, started) = (true, None);
        }
        records.set_started(slot, started.unwrap_or(0));
        let identity = identity.filter(|_| started.is_some());
        let identity = identity.unwrap_or_else(|| Identity {
            name: "exited".to_owned(),
            vmm: "unknown".to_owned(),
            ..Identity::default()
        });
        let label = self.unique_label(&identity, vm.tgid);
        let ordinary = Kind::ORDINARY.iter().map(|kind| (*kind, outcome::name(outcome::OK)));
        let tracked = Tracked {
            slot,
            generation: vm.generation,
            tgid: vm.tgid,
            started,
            label,
            identity,
            looks_left: LOOKS,
            exited,
            pairs: ordinary.collect(),
            decided: Vec::new(),
        };
        // At once: its requests may be waiting for it.
        policies.apply(records, &tracked);
        let seen = What::NewVm { vmm: tracked.identity.vmm.clone() };
        self.news.push((tracked.whom(), seen, vm.first_seen));
        if exited {
            let gone = if vm.exited == 0 { now_ns() } else { vm.exited };
            self.news.push((tracked.whom(), What::ExitedVm {}, gone));
        }
        self.vms.push(tracked);
        Ok(())
    }

    /// A VM's own name is its label, unless a running VM has it; other names get the pid.
    /// A VM that has gone makes way for its successor of the same name.
    fn unique_label(&mut self, identity: &Identity, tgid: u32) -> String {
        if !identity.named {
            return format!("{}-{tgid}", identity.name);
        }
        let name = host::clean(&identity.full_name());
        let taken = self.vms.iter().position(|vm| vm.label == name);
        match taken {
            None => name,
            Some(at) if self.vms[at].exited => {
                let old = &mut self.vms[at];
                old.label = format!("{}@{}", old.label, old.tgid);
                name
            }
            Some(_) => format!("{name}@{tgid}"),
        }
    }

    /// Frees the slots of VMs that went long enough ago, and of the oldest ones where slots
    /// become scarce.
    fn bury(
        &mut self,
        records: &Records,
        programs: &mut Programs,
        keep: Duration,
        now: u64,
    ) -> Result<()> {
        let keep = u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX);
        let gone = |vm: &Tracked| records.vm(vm.slot).map_or(0, |record| record.exited);
        let mut exited: Vec<(u64, usize)> =
            self.vms.iter().filter(|vm| vm.exited).map(|vm| (gone(vm), vm.slot)).collect();
        exited.sort_unstable();
        // An eighth of the slots stays free for VMs to come, as far as it is up to us.
        let max = records.max_vms();
        let scarce = (self.vms.len() + max / 8).saturating_sub(max);
        let due =
            |(i, (at, _)): &(usize, &(u64, usize))| *i < scarce || now.saturating_sub(*at) > keep;
        let freed: Vec<usize> =
            exited.iter().enumerate().filter(due).map(|(_, (_, slot))| *slot).collect();
        self.vms.retain(|vm| !freed.contains(&vm.slot));
        for slot in freed {
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
pub fn labels(table: &Table) -> BTreeMap<(u32, u32), &str> {
    table.vms.iter().map(|vm| ((vm.slot as u32, vm.generation), vm.label.as_str())).collect()
}

/// Whether a process that began then may be the one that a record was made for: an end that nobody
/// saw, while no agent ran, may have left the number to another.
fn is_its(ticks: u64, vm: &Vm) -> bool {
    if vm.started != 0 {
        return ticks == vm.started;
    }
    host::began_ns(ticks) <= vm.first_seen
}

#[cfg(test)]
mod tests;
