//! # The programs' events, into the journal

use guestreq_common::event::{Event, EventKind};

use super::{
    observer::Observer,
    shared::{Shared, State},
};
use crate::{
    observe::{
        ring_buffer::{Sink, what},
        tracked::TrackedVm,
    },
    wire::events::EventVm,
};

impl Sink for Shared {
    fn wants_requests(&self) -> bool {
        self.journal.wants_requests()
    }

    fn take(&self, batch: &[Option<Event>]) {
        let State::Observing(observer) = &mut *self.state() else { return };
        let mut refreshed = false;
        for event in batch.iter().flatten() {
            let is_new = event.kind == EventKind::NewVm as u8;
            let is_known = event.vm.is_none() || vm_of(observer, event).is_some();
            let ended = event.kind == EventKind::Launched as u8 && observer.has_new_launches();
            if ended || !is_known && !refreshed {
                // While its process lives: it may not do so for long.
                observer.refresh_vms();
                refreshed = !is_new;
            }
            let Some(what) = what(event) else { continue };
            let nobody = || EventVm { vm: None, name: None, uuid: None, pid: event.tgid };
            let event_vm = vm_of(observer, event).map_or_else(nobody, TrackedVm::event_vm);
            self.journal.record_of(Some(event_vm), what, event.time.0);
        }
    }

    fn emptied(&self) {
        if let State::Observing(observer) = &mut *self.state() {
            observer.report_losses();
        }
    }
}

fn vm_of<'a>(observer: &'a Observer, event: &Event) -> Option<&'a TrackedVm> {
    observer.table.find(event.vm)
}
