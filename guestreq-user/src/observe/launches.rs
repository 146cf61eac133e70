//! # Launches
//!
//! Those that run, and the latest that have ended, with the names of their VMs. A failed launch's
//! record is another VM's at once, so its name is what the agent knew before.

mod unfinished;
mod users;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use guestreq_common::{
    launch::{EndedLaunch, HISTORY, Launch},
    units::MonotonicNs,
    vm::VmRef,
};
use users::Meter;
pub use users::Users;

use crate::{
    bpf::records::Records,
    observe::{tracked::TrackedVm, vms::VmEvent},
    wire::events::{EventData, EventVm, Launched, Lost},
};

/// Ended launches that are kept.
const KEPT: usize = HISTORY as usize;
/// After how long without a command a running launch is stalled.
const STALLED_NS: u64 = 60_000_000_000;

#[derive(Default)]
pub struct Launches {
    /// The number of the last ended launch that was read.
    read: u64,
    /// Whether what earlier agents may have reported was read.
    began: bool,
    running: BTreeMap<VmRef, Running>,
    /// The latest last.
    ended: VecDeque<Ended>,
    /// Running launches whose end was inferred, and when their latest command returned.
    inferred: BTreeMap<VmRef, MonotonicNs>,
    /// Read, and to be named after the table of VMs is refreshed.
    unnamed: Vec<(EndedLaunch, Option<Running>)>,
    lost: u64,
    meter: Meter,
}

/// A launch that runs.
#[derive(Clone)]
pub struct Running {
    pub vm: EventVm,
    pub launch: Launch,
    /// Who else used the PSP since the agent saw it.
    pub users: Users,
}

impl Running {
    pub fn is_stalled(&self, now: u64) -> bool {
        MonotonicNs(now).since(self.launch.latest) >= STALLED_NS
    }
}

/// A launch that has ended.
pub struct Ended {
    pub id: VmRef,
    pub vm: EventVm,
    pub launch: Launch,
    /// Unless the agent did not see it run.
    pub users: Option<Users>,
    /// Whether its end was not seen.
    pub inferred: bool,
}

impl Launches {
    pub fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// The latest first.
    pub fn ended(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter().rev()
    }

    /// Numbers of running launches that make progress, and of stalled ones.
    pub fn counts(&self, now: u64) -> (usize, usize) {
        let stalled = self.running().filter(|running| running.is_stalled(now)).count();
        (self.running.len() - stalled, stalled)
    }

    /// Whether launches have ended that were not read.
    pub fn is_behind(&self, records: &Records) -> bool {
        records.launches_ended() != self.read
    }

    /// Reads the launches that have ended. Before the table of VMs is refreshed, which forgets
    /// those that failed.
    pub fn collect(&mut self, records: &Records, vms: &[TrackedVm]) {
        let latest = records.launches_ended();
        let first = (self.read + 1).max((latest + 1).saturating_sub(u64::from(HISTORY)));
        let mut lost = first - (self.read + 1);
        for number in first..=latest {
            match records.ended_launch(number) {
                Some(ended) => self.unnamed.push((*ended, None)),
                // A later one's record has replaced it: they are written one after the other.
                None if number < latest => lost += 1,
                // It is being written.
                None => break,
            }
            self.read = number;
        }
        self.lost += if self.began { lost } else { 0 };
        let Launches { meter, running, unnamed, .. } = self;
        let ended = unnamed.iter().map(|(ended, _)| ended);
        let used = meter.read(records, vms, ended, !running.is_empty());
        for (id, running) in running.iter_mut() {
            running.users.add(&used, *id);
            running.name(*id, vms);
        }
        for (ended, was) in unnamed.iter_mut() {
            *was = running.remove(&ended.vm).or(was.take());
        }
    }

    /// Names them, follows those that run, and returns what to report. After the table was refreshed.
    /// `process_exists`: whether a process exists.
    pub fn settle(
        &mut self,
        records: &Records,
        vms: &[TrackedVm],
        now: u64,
        process_exists: impl Fn(u32) -> io::Result<bool>,
    ) -> Vec<VmEvent> {
        let mut events = Vec::new();
        for (ended, running) in std::mem::take(&mut self.unnamed) {
            if let Some(latest) = self.inferred.remove(&ended.vm) {
                if latest == ended.launch.latest {
                    // Reported when its end was inferred.
                    continue;
                }
                // It had not ended.
                self.ended.retain(|it| !(it.inferred && it.id == ended.vm));
            }
            let vm = named(ended.vm, vms).or(running.as_ref().map(|it| it.vm.clone()));
            let vm = vm.unwrap_or_else(|| nameless(ended.tgid));
            let users = running.map(|running| running.users);
            let (id, launch) = (ended.vm, ended.launch);
            events.extend(self.end(Ended { id, vm, launch, users, inferred: false }));
        }
        self.follow(records, vms);
        let vanished = self.infer_ends(records, now, process_exists);
        events.extend(vanished.into_iter().filter_map(|ended| self.end(ended)));
        let excess = self.ended.len().saturating_sub(KEPT);
        self.ended.drain(..excess);
        self.began = true;
        events
    }

    /// Keeps a launch that has ended, and returns its event.
    fn end(&mut self, ended: Ended) -> Option<VmEvent> {
        let event = self.began.then(|| {
            let mut launched = Launched::of(&ended.launch, ended.users.as_ref().map(Users::most));
            launched.inferred = ended.inferred;
            let what = EventData::Launched(Box::new(launched));
            (ended.vm.clone(), what, ended.launch.latest.0)
        });
        self.ended.push_back(ended);
        event
    }

    /// Launches that ended unread, since the last call.
    pub fn take_lost(&mut self) -> Option<Lost> {
        let count = std::mem::take(&mut self.lost);
        (count > 0).then(|| Lost { reason: Lost::LAUNCHES.into(), count })
    }
}

impl Running {
    /// The table may know the name only later, and may forget it sooner.
    fn name(&mut self, id: VmRef, vms: &[TrackedVm]) {
        if let Some(vm) = named(id, vms) {
            self.vm = vm;
        }
    }
}

fn named(id: VmRef, vms: &[TrackedVm]) -> Option<EventVm> {
    vms.iter().find(|vm| vm.id == id).map(TrackedVm::event_vm)
}

/// A process without a record.
fn nameless(pid: u32) -> EventVm {
    EventVm { vm: None, name: None, uuid: None, pid }
}

#[cfg(test)]
mod tests;
