//! # A VM in the table

use guestreq_common::{
    message::MessageType,
    policy::{Decision, Mode},
    vm::VmRef,
};

use crate::{
    bpf::pins::identities::Known,
    host::{Evidence, Identity},
    policy::Candidate,
    wire::events::EventVm,
};

/// Most pairs of message and result that a VM has as series of its own; the rest is folded into
/// one.
const MAX_PAIRS: usize = 64;
/// The same for decisions, folded into one per decision and mode.
const MAX_DECIDED: usize = 48;

/// Of which type, what was decided, and in which mode.
pub type Decided = (MessageType, Decision, Mode);

/// A VM with a record.
pub struct TrackedVm {
    pub id: VmRef,
    /// The process that was looked at: the one that launched it, or that runs it. It may have gone.
    pub tgid: u32,
    /// The process' start, in ticks; `None` if it exited before it could be read.
    pub started: Option<u64>,
    /// The `vm` label: the VM's name, with its pid where two have the same.
    pub label: String,
    pub identity: Identity,
    /// Where the identity was read.
    pub evidence: Vec<Evidence>,
    /// How many more times its pod is looked up.
    pub pod_lookups_left: u8,
    /// Which kick signal its VMM handles was read.
    pub signal_read: bool,
    /// Its process could not be read yet: the VM has no name.
    pub unread: bool,
    pub exited: bool,
    /// Pairs of message type and result that are series, in the order in which they were first seen.
    pub pairs: Vec<(MessageType, &'static str)>,
    /// The same for decisions.
    pub decided: Vec<Decided>,
}

impl TrackedVm {
    /// How events name it.
    pub fn event_vm(&self) -> EventVm {
        let uuid = Some(&self.identity.uuid).filter(|uuid| !uuid.is_empty());
        EventVm {
            vm: Some(self.label.clone()),
            name: Some(self.identity.name.clone()),
            uuid: uuid.cloned(),
            pid: self.tgid,
        }
    }

    /// How it may be called.
    pub fn candidate(&self) -> Candidate<'_> {
        let TrackedVm { label, identity, tgid, exited, .. } = self;
        Candidate { label, identity, pid: *tgid, exited: *exited }
    }

    /// Its pid and that process' start, which tells reused pids apart.
    pub fn process(&self) -> (u32, Option<u64>) {
        (self.tgid, self.started)
    }

    /// What is saved for the next agent.
    pub fn known(&self) -> Known {
        let (identity, evidence) = (self.identity.clone(), self.evidence.clone());
        Known { identity, evidence, pid: self.tgid, started: self.started }
    }

    /// Whether a pair of message type and result has a series of its own; the first ones get it.
    pub fn admit(&mut self, kind: MessageType, result: &'static str) -> bool {
        admit(&mut self.pairs, (kind, result), MAX_PAIRS)
    }

    /// The same for decisions.
    pub fn admit_decided(&mut self, decided: Decided) -> bool {
        admit(&mut self.decided, decided, MAX_DECIDED)
    }
}

/// Adds an item unless there are `max`. Returns whether it is among them.
fn admit<T: PartialEq>(admitted: &mut Vec<T>, item: T, max: usize) -> bool {
    if !admitted.contains(&item) {
        if admitted.len() >= max {
            return false;
        }
        admitted.push(item);
    }
    true
}

#[cfg(test)]
impl TrackedVm {
    /// A running VM.
    pub fn of(label: &str, identity: Identity) -> TrackedVm {
        TrackedVm {
            id: VmRef::default(),
            tgid: 1,
            started: None,
            label: label.to_owned(),
            identity,
            evidence: Vec::new(),
            pod_lookups_left: 0,
            signal_read: false,
            unread: false,
            exited: false,
            pairs: Vec::new(),
            decided: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use guestreq_common::outcome::Outcome;

    use super::*;

    #[test]
    fn a_hostile_guest_has_a_bounded_number_of_series() {
        let mut vm = TrackedVm::of("evil", Identity::default());
        let mut admitted = 0;
        for kind in MessageType::ALL {
            for outcome in Outcome::all().take(0x1d) {
                admitted += usize::from(vm.admit(kind, outcome.name()));
            }
        }
        assert_eq!(admitted, MAX_PAIRS);
        assert!(vm.admit(MessageType::Cpuid, "ok"), "the first ones stay");
        let mut admitted = 0;
        for kind in MessageType::ALL {
            for decision in Decision::ALL {
                for mode in Mode::ALL {
                    admitted += usize::from(vm.admit_decided((kind, decision, mode)));
                }
            }
        }
        assert_eq!(admitted, MAX_DECIDED);
    }
}
