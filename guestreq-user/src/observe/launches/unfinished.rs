//! # Launches that run, or whose end was missed
//!
//! The kernel may skip the program that sees SNP_DECOMMISSION. By its record the launch would run until
//! the context's address is reused.

use std::io;

use guestreq_common::{launch::Launch, vm::VmRef};

use super::{Ended, Launches, Running, Users, nameless};
use crate::{bpf::records::Records, observe::tracked::TrackedVm};

impl Launches {
    pub(super) fn follow(&mut self, records: &Records, vms: &[TrackedVm]) {
        let mut before = std::mem::take(&mut self.running);
        for (id, _) in records.slots() {
            let Some(launch) = records.launch(id).filter(Launch::is_running) else { continue };
            if self.has_ended(id, &launch) {
                continue;
            }
            let running = before.remove(&id).unwrap_or_else(|| {
                let pid = records.vm(id.index()).map_or(0, |vm| vm.tgid);
                Running { vm: nameless(pid), launch, users: Users::default() }
            });
            let mut running = Running { launch, ..running };
            running.name(id, vms);
            self.running.insert(id, running);
        }
        // One that has just ended: the next reading takes it.
        if self.is_behind(records) {
            self.running.extend(before);
        } else {
            let runs = |id: &VmRef| records.launch(*id).is_some_and(|launch| launch.is_running());
            self.inferred.retain(|id, _| runs(id));
        }
    }

    /// The launches without a command for as long as makes them stalled, whose process has exited,
    /// or whose guest sends requests: the end of SNP_LAUNCH_FINISH was missed. Another process that
    /// shares the VMM's memory could still continue one, so its end is inferred.
    ///
    /// Also marks the launches of exited processes: the programs mark one per process, and none
    /// if they are skipped.
    pub(super) fn infer_ends(
        &mut self,
        records: &Records,
        now: u64,
        process_exists: impl Fn(u32) -> io::Result<bool>,
    ) -> Vec<Ended> {
        for (id, running) in &mut self.running {
            if running.launch.process_exited == 0
                && let Some(pid) = records.launched_by(*id)
                // Before its pid can be reused: the agent looks each second.
                && process_exists(pid).is_ok_and(|exists| !exists)
            {
                records.mark_process_exited(*id);
                running.launch.process_exited = 1;
            }
        }
        let stalled = self.running.iter().filter(|(_, running)| running.is_stalled(now));
        let ended = stalled.filter_map(|(id, running)| {
            let sends = records.has_requests(*id);
            (sends || running.launch.process_exited != 0).then_some((*id, sends))
        });
        let ended: Vec<_> = ended.collect();
        ended.into_iter().filter_map(|(id, sends)| self.infer_end(id, sends)).collect()
    }

    /// `sends`: its guest has sent requests.
    fn infer_end(&mut self, id: VmRef, sends: bool) -> Option<Ended> {
        let Running { vm, mut launch, users } = self.running.remove(&id)?;
        self.inferred.insert(id, launch.latest);
        launch.end(sends);
        Some(Ended { id, vm, launch, users: Some(users), inferred: true })
    }

    /// Whether a launch whose record says that it runs has ended, as inferred. One that gets
    /// another command has not.
    fn has_ended(&mut self, id: VmRef, launch: &Launch) -> bool {
        let inferred = self.inferred.get(&id).copied();
        if inferred.is_some_and(|latest| latest != launch.latest) {
            self.inferred.remove(&id);
            self.ended.retain(|ended| !(ended.inferred && ended.id == id));
            return false;
        }
        inferred.is_some()
    }
}
