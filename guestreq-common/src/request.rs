//! # Requests in flight
//!
//! A guest request lives on one thread from the moment KVM wants the VM's lock until the PSP has
//! answered. [`Thread`] holds it until the PSP takes it, [`Running`] from then on.

mod running;

pub use running::{DEPTH, Running, SequenceCheck, Stack};

use crate::{
    message::{MESSAGE_TYPES, Summary},
    units::{GuestContext, MonotonicNs},
    vm::VmRef,
};

/// Where a thread's request is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No request, or the PSP took it.
    Idle = 0,
    /// KVM wants the VM's `guest_req_mutex` (t0).
    WantsLock = 1,
    /// KVM holds it and wants `sev_cmd_mutex` (t1): the header is final.
    Queued = 2,
}

/// A vCPU thread: the VM that it ran last, and its request until the PSP takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread {
    /// When it wanted the VM's lock, and when the PSP.
    pub wants_lock: MonotonicNs,
    pub queued: MonotonicNs,
    pub context: GuestContext,
    pub message: Summary,
    /// 0 while the record is free. Taken atomically.
    pub tid: u32,
    /// The thread's process: where an exit was missed, another process may reuse the tid.
    pub tgid: u32,
    /// The VM that it ran last, where the lookup of a request's VM begins. The guest context
    /// decides: any thread of any process that shares the VMM's memory may run its vCPUs.
    pub vm: VmRef,
    /// [`State`]
    pub state: u32,
    /// [`DecidedBy`], for the request in flight.
    pub decided: u32,
    /// Until when the vCPU is kept out of its guest; [`STOPPED`] for good, [`until_allowed`] until
    /// the policy allows a type.
    pub held_until: MonotonicNs,
    /// When its launch command queued for the PSP; never: no such command is on its way.
    pub launch_queued: MonotonicNs,
}

/// A vCPU that sent a disallowed message never runs again.
pub const STOPPED: MonotonicNs = MonotonicNs(u64::MAX);

/// The first of the times that stand for rows of types, one each: no clock ever gets there.
const UNTIL_ALLOWED: u64 = STOPPED.0 - MESSAGE_TYPES as u64;

/// A vCPU that sent a message of this row runs again once the policy allows it.
#[inline(always)]
pub const fn until_allowed(row: u8) -> MonotonicNs {
    MonotonicNs(UNTIL_ALLOWED + row as u64 % MESSAGE_TYPES as u64)
}

/// The row of a type that must be allowed before the vCPU runs again.
#[inline(always)]
pub const fn disallowed_row(held_until: MonotonicNs) -> Option<u8> {
    match held_until.0.wrapping_sub(UNTIL_ALLOWED) {
        row if row < MESSAGE_TYPES as u64 => Some(row as u8),
        _ => None,
    }
}

/// A request is decided once.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    Nobody = 0,
    /// Admitted when the gate asked.
    Gate = 1,
    /// The same; its service time counts towards the VM's share.
    GateCharged = 2,
}

/// An open request whose end was not seen or was on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// Unknown if the header was never read.
    pub message: Summary,
    /// Whether it had queued for the PSP.
    pub queued: bool,
    /// Whether it had been admitted when the gate asked.
    pub decided: bool,
}

impl Abandoned {
    /// Whether it queued, and something else answered the gate: during a takeover another version's
    /// programs, which count it, or another LSM program. The gate is never skipped, and asks about
    /// each request.
    #[inline(always)]
    pub const fn is_refused_elsewhere(&self, has_gate: bool) -> bool {
        self.queued && has_gate && !self.decided
    }
}

impl Thread {
    #[inline(always)]
    pub const fn is_idle(&self) -> bool {
        self.state == State::Idle as u32
    }

    #[inline(always)]
    pub const fn is_queued(&self) -> bool {
        self.state == State::Queued as u32
    }

    #[inline(always)]
    pub fn set_idle(&mut self) {
        self.state = State::Idle as u32;
    }

    /// t0: KVM wants the VM's lock. Returns an older request that is still open: its end was missed.
    #[inline(always)]
    pub fn want_lock(&mut self, now: MonotonicNs) -> Option<Abandoned> {
        let abandoned = self.abandon();
        self.begin(now);
        abandoned
    }

    /// The same for a thread without an open request.
    #[inline(always)]
    pub fn begin(&mut self, now: MonotonicNs) {
        self.decided = DecidedBy::Nobody as u32;
        self.wants_lock = now;
        self.state = State::WantsLock as u32;
    }

    /// Whether this very message is queued. The call that takes a request to ccp may be seen twice
    /// (KVM's and the gate's), with the gate's question between; each may be missed, as may the end
    /// of the previous request.
    #[inline(always)]
    pub fn queues(&self, context: GuestContext, message: &Summary) -> bool {
        self.is_queued() && self.context == context && self.message == *message
    }

    /// t1: the header is final and the thread queues for the PSP. For a message that is not queued
    /// yet ([`Thread::queues`]), and so undecided.
    #[inline(always)]
    pub fn queue(&mut self, now: MonotonicNs, context: GuestContext, message: Summary) {
        if self.state != State::WantsLock as u32 {
            // The probe at the lock missed it: that stage is lost, the request is not.
            self.wants_lock = now;
        }
        self.queued = now;
        self.context = context;
        self.message = message;
        self.state = State::Queued as u32;
        self.decided = DecidedBy::Nobody as u32;
    }

    /// The gate got the answer to admit the request.
    #[inline(always)]
    pub fn set_admitted(&mut self, charged: bool) {
        self.decided = if charged { DecidedBy::GateCharged as u32 } else { DecidedBy::Gate as u32 };
    }

    #[inline(always)]
    const fn is_admitted(&self) -> bool {
        self.decided != DecidedBy::Nobody as u32
    }

    /// Whether the gate admitted the request that the PSP now takes, and whether its service time
    /// counts towards the VM's share. Resets it for the next one.
    #[inline(always)]
    pub fn take_decided(&mut self) -> (bool, bool) {
        let decided = (self.is_admitted(), self.decided == DecidedBy::GateCharged as u32);
        self.decided = DecidedBy::Nobody as u32;
        decided
    }

    /// The thread's launch command has the PSP: when it queued, if that was seen.
    #[inline(always)]
    pub fn take_launch(&mut self) -> Option<MonotonicNs> {
        let queued = self.launch_queued;
        self.launch_queued = MonotonicNs::NEVER;
        if queued.is_never() { None } else { Some(queued) }
    }

    /// Hands the record to another thread, which inherits nothing.
    #[inline(always)]
    pub fn belongs_to(&mut self, tgid: u32) {
        self.tgid = tgid;
        self.vm.slot = VmRef::NONE.slot;
        self.set_idle();
        self.decided = DecidedBy::Nobody as u32;
        self.held_until = MonotonicNs::NEVER;
        self.launch_queued = MonotonicNs::NEVER;
    }

    /// Closes a request that can no longer reach the PSP.
    #[inline(always)]
    pub fn abandon(&mut self) -> Option<Abandoned> {
        let state = self.state;
        self.set_idle();
        let decided = self.is_admitted();
        if state == State::Queued as u32 {
            Some(Abandoned { message: self.message, queued: true, decided })
        } else if state == State::WantsLock as u32 {
            Some(Abandoned { message: Summary::UNKNOWN, queued: false, decided })
        } else {
            None
        }
    }
}

/// The stages of a request that the PSP answered. Their sum is the total, by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    pub ns: [u64; STAGES],
}

pub const STAGES: usize = 3;
/// Names in the order of [`Stages::ns`].
pub const STAGE_NAMES: [&str; STAGES] = ["vm_lock", "psp_queue", "psp_service"];

impl Stages {
    #[inline(always)]
    pub fn of(request: &Running, now: MonotonicNs) -> Stages {
        Stages {
            ns: [
                request.queued.since(request.wants_lock),
                request.started.since(request.queued),
                now.since(request.started),
            ],
        }
    }

    #[inline(always)]
    pub fn total(&self) -> u64 {
        self.ns[0].wrapping_add(self.ns[1]).wrapping_add(self.ns[2])
    }
}

#[cfg(test)]
mod tests;
