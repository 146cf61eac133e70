//! # Lost VMPCKs
//!
//! The programs mark what a denial costs; a minute of BUSY only shows by its length, so the agent
//! marks that.

use guestreq_common::{
    units::MonotonicNs,
    waiting::{LostCause, WaitingMessages, lost_bit},
};

use super::{Observer, now_ns};
use crate::{
    observe::lost_vmpcks::{given_up, newly_lost},
    state::snapshot::Snapshot,
    wire::events::{EventData, VmpckLost},
};

impl Observer {
    /// Marks VMPCKs that guests must have given up, and reports each that is newly marked.
    pub(super) fn report_lost_vmpcks(&mut self, snapshot: &Snapshot) {
        for (tracked, record) in self.table.vms_mut().iter_mut().zip(&snapshot.vms) {
            let Some(record) = record else { continue };
            let slot = tracked.id.index();
            let WaitingMessages { lost: mut marks, reported, .. } = record.limiter.waiting;
            // An exited VM's guest gives up nothing any more, but may have lost a VMPCK just before.
            if !tracked.exited
                && given_up(&record.limiter.waiting, MonotonicNs(now_ns())).next().is_some()
            {
                // The snapshot's message may have been admitted since.
                let fresh = self.records.vm(slot);
                let Some(fresh) = fresh.filter(|vm| vm.generation == tracked.id.generation) else {
                    continue;
                };
                let waiting = fresh.limiter.waiting;
                marks = waiting.lost;
                for vmpck in given_up(&waiting, MonotonicNs(now_ns())) {
                    if self.records.mark_vmpck_lost(slot, vmpck) {
                        marks |= lost_bit(vmpck, LostCause::Busy);
                    }
                }
            }
            if marks == reported {
                continue;
            }
            for (vmpck, cause) in newly_lost(reported, marks) {
                let lost = VmpckLost { vmpck, cause: cause.name().into(), inferred: true };
                let what = EventData::VmpckLost(lost);
                self.journal.record_of(Some(tracked.event_vm()), what, now_ns());
            }
            // In the record, as an agent that was not there at the time reports it, and the next one not
            // again. A mark that ended may come back.
            self.records.set_reported_lost(slot, marks);
        }
    }
}
