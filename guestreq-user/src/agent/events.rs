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
        tracked::Tracked,
    },
    wire::events::Whom,
};

impl Sink for Shared {
    fn wants_requests(&self) -> bool {
        self.journal.wants_requests()
    }

    fn take(&self, batch: &[Option<Event>]) {
        let State::Observing(observer) = &mut *self.state() else { return };
        let mut looked = false;
        for event in batch.iter().flatten() {
            let is_new = event.kind == event::Kind::NewVm as u8;
            let is_known = event.vm == NO_VM || vm_of(observer, event).is_some();
            if !is_known && !looked {
                // While its process lives: it may not do so for long.
                observer.look_for_vms();
                looked = !is_new;
            }
            let Some(what) = what(event) else { continue };
            let nobody = || Whom { vm: None, name: None, uuid: None, pid: event.tgid };
            let whom = vm_of(observer, event).map_or_else(nobody, Tracked::whom);
            self.journal.record_of(Some(whom), what, event.time);
        }
    }

    fn emptied(&self) {
        if let State::Observing(observer) = &mut *self.state() {
            observer.tell_losses();
        }
    }
}

fn vm_of<'a>(observer: &'a Observer, event: &Event) -> Option<&'a Tracked> {
    let mut vms = observer.table.vms().iter();
    vms.find(|vm| vm.slot == event.vm as usize && vm.generation == event.generation)
}
