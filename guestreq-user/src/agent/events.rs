//! # The programs' events, into the journal

use guestreq_common::{
    event::{self, Event},
    request::NO_VM,
};

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
            let is_new = event.kind == event::Kind::NewVm as u8;
            let is_known = event.vm == NO_VM || vm_of(observer, event).is_some();
            if !is_known && !refreshed {
                // Its process may exit soon.
                observer.refresh_vms();
                refreshed = !is_new;
            }
            let Some(what) = what(event) else { continue };
            let unknown = || EventVm { vm: None, name: None, uuid: None, pid: event.tgid };
            let event_vm = vm_of(observer, event).map_or_else(unknown, TrackedVm::event_vm);
            self.journal.record_of(Some(event_vm), what, event.time);
        }
    }

    fn emptied(&self) {
        if let State::Observing(observer) = &mut *self.state() {
            observer.report_losses();
        }
    }
}

fn vm_of<'a>(observer: &'a Observer, event: &Event) -> Option<&'a TrackedVm> {
    let mut vms = observer.table.vms().iter();
    vms.find(|vm| vm.slot == event.vm as usize && vm.generation == event.generation)
}
