//! # A request on its way
//!
//! A guest request lives on one thread from the moment KVM wants the VM's lock
//! until the PSP has answered. [`Thread`] is its state until the PSP takes it,
//! [`Running`] from then on.

mod running;

pub use running::{DEPTH, Numbered, Running, Stack};

use crate::{message::Summary, outcome, vm::VmRef};

/// Where a thread's request is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No request, or one that the PSP took over.
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
    /// When it wanted the VM's lock, and when it wanted the PSP, in ns of CLOCK_MONOTONIC.
    pub wants_lock: u64,
    pub queued: u64,
    pub context: u64,
    pub message: Summary,
    /// The thread's number; 0 while the record is nobody's. Taken atomically.
    pub tid: u32,
    /// Whose thread it is: a number whose owner's exit nobody saw is used again by another.
    pub tgid: u32,
    /// The slot and generation of the VM that it ran last. Any thread of any process that shares
    /// the VMM's memory may run any of its vCPUs, so this is only where a request's VM is looked
    /// for first: its guest context says which it is.
    pub vm: u32,
    pub generation: u32,
    pub state: u32,
    /// [`Decided`]: whether the request that is on its way was decided, and by whom.
    pub decided: u32,
    /// Until when the thread's vCPU is kept out of its guest, in ns of CLOCK_MONOTONIC;
    /// [`STOPPED`] for good.
    pub held_until: u64,
}

/// A vCPU that sent what it may not does not run on.
pub const STOPPED: u64 = u64::MAX;

/// A request is decided once.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    NotYet = 0,
    /// Admitted when the gate asked.
    AtTheGate = 1,
}

/// A request that was still open, and whose end was not seen or was on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// Unknown where the header was never read.
    pub message: Summary,
    /// Whether it had queued for the PSP.
    pub queued: bool,
    /// Whether it had been admitted when the gate asked.
    pub decided: bool,
}

impl Abandoned {
    /// Whether it queued, and the gate, if there is one, got its answer from somebody else: another
    /// version's programs during a takeover, which have counted it, or another LSM program. The gate
    /// is never skipped, and asks about each request.
    #[inline(always)]
    pub const fn is_refused_elsewhere(&self, has_gate: bool) -> bool {
        self.queued && has_gate && !self.decided
    }
}

impl Thread {
    /// The VM that it ran last.
    #[inline(always)]
    pub const fn ran(&self) -> VmRef {
        VmRef { slot: self.vm, generation: self.generation }
    }

    #[inline(always)]
    pub fn runs(&mut self, vm: VmRef) {
        (self.vm, self.generation) = (vm.slot, vm.generation);
    }

    /// t0: KVM wants the VM's lock. Returns an older request that is still open: it ended unseen.
    #[inline(always)]
    pub fn want_lock(&mut self, now: u64) -> Option<Abandoned> {
        let abandoned = self.abandon();
        self.begin(now);
        abandoned
    }

    /// The same of a thread that has no request open.
    #[inline(always)]
    pub fn begin(&mut self, now: u64) {
        self.decided = Decided::NotYet as u32;
        self.wants_lock = now;
        self.state = State::WantsLock as u32;
    }

    /// Whether this very message is the one that queues. The call by which a request reaches ccp
    /// may be seen twice (KVM's and the gate's), with the gate's question between; any of them
    /// may be missed, and the request before may have ended unseen.
    #[inline(always)]
    pub fn queues(&self, context: u64, message: &Summary) -> bool {
        self.state == State::Queued as u32 && self.context == context && self.message == *message
    }

    /// t1: the header is final and the thread queues for the PSP. Of a message that does not queue
    /// yet ([`Thread::queues`]): nobody has decided it.
    #[inline(always)]
    pub fn queue(&mut self, now: u64, context: u64, message: Summary) {
        if self.state != State::WantsLock as u32 {
            // No probe saw it want the lock: the lock's part is lost, the request is not.
            self.wants_lock = now;
        }
        self.queued = now;
        self.context = context;
        self.message = message;
        self.state = State::Queued as u32;
        self.decided = Decided::NotYet as u32;
    }

    /// Takes the decision away, as the PSP takes the request over: the next one has none.
    #[inline(always)]
    pub fn take_decided(&mut self) -> bool {
        let decided = self.decided == Decided::AtTheGate as u32;
        self.decided = Decided::NotYet as u32;
        decided
    }

    /// Another thread has this record now: nothing of the last one's is its.
    #[inline(always)]
    pub fn belongs_to(&mut self, tgid: u32) {
        self.tgid = tgid;
        self.vm = NO_VM;
        self.state = State::Idle as u32;
        self.decided = Decided::NotYet as u32;
        self.held_until = 0;
    }

    /// Closes a request that can no longer reach the PSP.
    #[inline(always)]
    pub fn abandon(&mut self) -> Option<Abandoned> {
        let state = self.state;
        self.state = State::Idle as u32;
        let decided = self.decided == Decided::AtTheGate as u32;
        if state == State::Queued as u32 {
            Some(Abandoned { message: self.message, queued: true, decided })
        } else if state == State::WantsLock as u32 {
            Some(Abandoned { message: Summary::UNKNOWN, queued: false, decided })
        } else {
            None
        }
    }
}

/// No VM: a command that no VM asked for, or one that found the table full.
pub const NO_VM: u32 = u32::MAX;

/// The three stages of a request that the PSP answered. Their sum is the total, by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    pub ns: [u64; STAGES],
}

pub const STAGES: usize = 3;
/// The stages' names, in the order of [`Stages::ns`].
pub const STAGE_NAMES: [&str; STAGES] = ["vm_lock", "psp_queue", "psp_service"];

impl Stages {
    #[inline(always)]
    pub fn of(request: &Running, now: u64) -> Stages {
        Stages {
            ns: [
                request.queued.saturating_sub(request.wants_lock),
                request.started.saturating_sub(request.queued),
                now.saturating_sub(request.started),
            ],
        }
    }

    #[inline(always)]
    pub fn total(&self) -> u64 {
        self.ns[0].wrapping_add(self.ns[1]).wrapping_add(self.ns[2])
    }
}

/// Whether a command's end counts as answered: durations count only those.
#[inline(always)]
pub const fn answered(outcome: u8) -> bool {
    outcome != outcome::HOST_ERROR
}

#[cfg(test)]
mod tests;
