//! # From the book of rules to the records
//!
//! What the configuration and the command line say is written where the programs
//! read it: as soon as a VM is known, and whenever something changes.

mod asked;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use guestreq_common::{
    message::MessageType,
    policy::{Backend, Decision, Mode},
    vm::Vm,
};
use log::warn;

use super::{
    fault::{self, Point},
    observer::Snapshot,
    records::Records,
    table::{Table, Tracked},
};
use crate::{
    api::events::Time,
    config::Config,
    policy::{Apply, Book, Plan, Refusal, Replacement, Request, Seen, Sheet, Stamp, Store, Types},
};

pub use asked::asked;

/// Longer than a program runs, even one that is preempted.
const SETTLE: Duration = Duration::from_millis(500);

pub struct Policies {
    book: Book,
    store: Store,
    /// New VMs still wait, though since then nothing wants it any more.
    settle: Option<Instant>,
}

impl Policies {
    /// What was configured, and what was set before.
    pub fn open(config: &Config) -> Result<Policies> {
        let store = Store::new(&config.state);
        let book = config.book(store.read()?);
        match book.contradiction() {
            Some((_, why)) => Err(anyhow!("{why}, or remove it from {}", store.path().display())),
            None => Ok(Policies { book, store, settle: None }),
        }
    }

    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Says what may not have been meant.
    pub fn warn(&self) {
        for warning in self.book.warnings() {
            warn!("{warning}");
        }
    }

    /// What holds for VMs that nothing is known of.
    pub fn apply_default(&self, records: &Records) {
        // Which generation they have is not known: it is looked at in VMs' own policies only.
        records.set_backend(self.book.backend);
        records.set_default_policy(self.book.default().to_policy(0), self.book.waits());
    }

    /// What holds for a VM.
    pub fn apply(&self, records: &Records, vm: &Tracked) {
        records
            .set_policy(vm.id.index(), self.book.resolve(&vm.identity).to_policy(vm.id.generation));
    }

    /// Whether VMs' vCPUs are taken out of the guest, by a signal that their VMM handles.
    pub fn kick(&self) -> bool {
        self.book.backend == Backend::Vcpu
    }

    /// Now, and who.
    fn stamp(uid: u32) -> Stamp {
        Stamp { uid, at: Time::now().to_the_second() }
    }

    /// What a change would come to.
    pub fn plan(
        &self,
        table: &Table,
        snapshot: &Snapshot,
        request: &Request,
        uid: u32,
    ) -> Result<Plan, Refusal> {
        self.book.plan(request, &Policies::stamp(uid), &seen(table, snapshot))
    }

    /// What another configuration would come to.
    pub fn plan_file(
        &self,
        table: &Table,
        snapshot: &Snapshot,
        file: &Sheet,
    ) -> Result<Replacement, Refusal> {
        self.book.with_file(file.clone(), &seen(table, snapshot))
    }

    /// What another file that was applied would come to.
    pub fn plan_apply(
        &self,
        table: &Table,
        snapshot: &Snapshot,
        apply: &Apply,
        uid: u32,
    ) -> Result<Replacement, Refusal> {
        self.book.with_applied(apply, &Policies::stamp(uid), &seen(table, snapshot))
    }

    /// What keeps what the command line has set; until it is done nothing is changed. It may wait
    /// for a disk.
    pub fn keep(&self, book: &Book) -> impl FnOnce() -> Result<(), Refusal> + Send + use<> {
        let (store, overrides) = (self.store.clone(), book.overrides.clone());
        move || {
            let kept = store.write(&overrides);
            kept.map_err(|error| Refusal::Failed(format!("{error:#}")))?;
            fault::point(Point::OverrideKept);
            Ok(())
        }
    }

    /// Has a book hold, for every request that comes after. Each request is decided by the old
    /// one's policy of its VM or by the new one's: a VM that is not known yet, and that either
    /// book has wait, is decided by neither's default while the records are of both.
    pub fn install(&mut self, book: Book, records: &Records, table: &Table) {
        // What has changed a moment ago may still be under way.
        let waited = self.book.waits() || self.settle.is_some();
        self.book = book;
        let policy = self.book.default().to_policy(0);
        records.set_default_policy(policy, waited || self.book.waits());
        fault::point(Point::DefaultWritten);
        for vm in table.vms() {
            self.apply(records, vm);
            fault::point(Point::VmWritten);
        }
        // A program that has read the old default may not find now that nobody waits.
        self.settle = (waited && !self.book.waits()).then(Instant::now);
    }

    /// Some time after a change.
    pub fn settle(&mut self, records: &Records) {
        if self.settle.is_some_and(|since| since.elapsed() >= SETTLE) {
            self.settle = None;
            self.apply_default(records);
        }
    }
}

/// What is known of the VMs that a change may touch.
fn seen<'a>(table: &'a Table, snapshot: &'a Snapshot) -> Vec<Seen<'a>> {
    let known = table.vms().iter().zip(&snapshot.vms);
    let vms = known.map(|(tracked, record)| Seen {
        label: &tracked.label,
        identity: &tracked.identity,
        pid: tracked.tgid,
        exited: tracked.exited,
        sent: record.as_deref().map_or_else(|| Types::from_iter([]), sent),
        was_over: record.as_deref().is_some_and(was_over),
    });
    vms.collect()
}

/// All types that it has sent, whatever became of them.
fn sent(vm: &Vm) -> Types {
    MessageType::ALL.into_iter().filter(|kind| vm.requests[*kind as usize].total() > 0).collect()
}

fn was_over(vm: &Vm) -> bool {
    vm.decisions.iter().any(|counts| counts.get(Mode::Audit, Decision::Busy) > 0)
}

#[cfg(test)]
mod tests;
