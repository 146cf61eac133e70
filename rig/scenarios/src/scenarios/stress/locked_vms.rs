//! # VMMs with locked memory
//!
//! They are locked while no agent runs, so that an agent may first see them locked.

use anyhow::{Result, ensure};

use super::{
    guests::{Finished, Guest},
    round::STEP_TIMEOUT,
};
use crate::{
    agent::Agent,
    host::{Firmware, wait_until},
    locked_memory::LockedMemory,
};

/// At a time; each blocks one of the agent's readers.
const MOST: usize = 8;

#[derive(Default)]
pub struct LockedVms {
    vms: Vec<Vm>,
    /// How many were started.
    begun: usize,
    pub locked: u32,
    released: u32,
}

struct Vm {
    guest: Guest,
    lock: Option<LockedMemory>,
    /// An agent has read its identity.
    is_known: bool,
}

impl LockedVms {
    pub fn is_complete(&self) -> bool {
        self.vms.len() >= 2 && self.released > 0 && self.vms.iter().any(|vm| vm.is_known)
    }

    /// Without an agent: starts and locks another VM, or locks the oldest unlocked one again.
    pub fn begin(&mut self) -> Result<()> {
        if self.vms.len() < MOST {
            self.begun += 1;
            let before = Firmware::read()?;
            let guest = Guest::start(&format!("stuck{}", self.begun), "--rate 1 --type report")?;
            wait_until("it has sent a request", STEP_TIMEOUT, || {
                let firmware = Firmware::read()?.since(&before);
                let new = |(launches, requests): &(u64, u64)| *launches > 0 && *requests > 0;
                Ok(firmware.contexts.values().any(new))
            })?;
            let lock = Some(LockedMemory::hold(guest.pid)?);
            self.vms.push(Vm { guest, lock, is_known: false });
            self.locked += 1;
        }
        if let Some(vm) = self.vms.iter_mut().find(|vm| vm.lock.is_none()) {
            vm.lock = Some(LockedMemory::hold(vm.guest.pid)?);
            self.locked += 1;
        }
        Ok(())
    }

    /// Unlocks the one that was locked first.
    pub fn release(&mut self) {
        if let Some(vm) = self.vms.iter_mut().find(|vm| vm.lock.is_some()) {
            vm.lock = None;
            self.released += 1;
        }
    }

    pub fn release_all(&mut self) {
        while self.vms.iter().any(|vm| vm.lock.is_some()) {
            self.release();
        }
    }

    /// The agent reports exactly the locked VMs as unread.
    pub fn wait_until_reported(&mut self, agent: &mut Agent) -> Result<()> {
        let hung: Vec<u32> = self.hung().collect();
        let metrics = agent.wait_until("those that do not answer are unread", |metrics| {
            let reported = metrics.values("guestreq_vm_info", "vm");
            metrics.sum("guestreq_vms_unread", &[]) == hung.len() as f64
                && hung.iter().all(|pid| {
                    // A guest may have such a name.
                    let label = format!("unread-{pid}");
                    reported.iter().any(|vm| vm == &label)
                })
        });
        let metrics = metrics.map_err(|error| {
            let found = agent.scrape().map(|metrics| {
                let labels = metrics.values("guestreq_vm_info", "vm").into_iter();
                let labels: Vec<String> = labels.filter(|vm| vm.contains("unread")).collect();
                (metrics.sum("guestreq_vms_unread", &[]), labels)
            });
            error.context(format!("hung: {hung:?}, reported: {found:?}"))
        })?;
        for vm in self.vms.iter_mut().filter(|vm| vm.lock.is_none()) {
            let name = &vm.guest.name;
            let named = metrics.sum("guestreq_vm_info", &[("vm", name)]);
            ensure!(named == 1.0, "{name} answers and is listed {named} times");
            vm.is_known = true;
        }
        Ok(())
    }

    /// Those whose identity no agent has read.
    fn hung(&self) -> impl Iterator<Item = u32> {
        self.vms.iter().filter(|vm| vm.lock.is_some() && !vm.is_known).map(|vm| vm.guest.pid)
    }

    pub fn finish(&mut self) -> Result<Vec<Finished>> {
        self.release_all();
        self.vms.drain(..).map(|vm| vm.guest.finish()).collect()
    }
}
