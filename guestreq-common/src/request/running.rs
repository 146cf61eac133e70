//! # Running commands
//!
//! `__sev_do_cmd_locked` runs under `sev_cmd_mutex`, so a host runs one command at a time, or two
//! when ccp reclaims pages within one: [`Stack`] holds them.

use super::{Stages, State, Thread};
use crate::{
    message::Summary,
    sequence::Anomaly,
    units::{GuestContext, MonotonicNs, PidTgid},
    vm::VmRef,
};

/// A command that the PSP works on. Fields of requests are unused for other commands, except that
/// `queued` is a launch command's, too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Running {
    /// The thread that issued it.
    pub thread: PidTgid,
    /// Its stack pointer on entry: a nested call's is lower.
    pub stack: u64,
    /// When the PSP was taken (t2).
    pub started: MonotonicNs,
    /// How long nested commands ran, in ns.
    pub nested: u64,
    /// Where ccp will store the firmware's status.
    pub status_at: u64,
    pub wants_lock: MonotonicNs,
    pub queued: MonotonicNs,
    pub context: GuestContext,
    pub message: Summary,
    pub command: u32,
    pub vm: VmRef,
    /// [`crate::outcome::Outcome`]. Written and read again: the verifier walks what follows once per
    /// known value, and forgets a value that went through a map.
    pub outcome: u32,
    /// Until when to keep its vCPU out of the guest: [`Thread::held_until`].
    pub held_until: MonotonicNs,
    /// When it ended, what it returned, and its [`SequenceCheck`]: for the slow path.
    pub ended: MonotonicNs,
    pub ret: i32,
    pub sequence: u32,
    /// Nonzero if its service time counts towards the VM's share.
    pub charged: u32,
    pub reserved: u32,
}

/// The check of a message's sequence number.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// The VM has no record, or the header was unreadable.
    Unchecked = 0,
    InOrder = 1,
    Replay = 2,
    Gap = 3,
}

impl SequenceCheck {
    #[inline(always)]
    pub const fn of(anomaly: Option<Anomaly>) -> SequenceCheck {
        match anomaly {
            None => SequenceCheck::InOrder,
            Some(Anomaly::Replay) => SequenceCheck::Replay,
            Some(Anomaly::Gap) => SequenceCheck::Gap,
        }
    }
}

impl Running {
    /// t2: the PSP takes a thread's request. Whether it was seen to queue: if not, the caller must
    /// read its context and header.
    #[inline(always)]
    pub fn take_from(&mut self, thread: &mut Thread, now: MonotonicNs) -> bool {
        let state = thread.state;
        thread.set_idle();
        self.vm = thread.vm;
        self.started = now;
        self.wants_lock = if state == State::Idle as u32 { now } else { thread.wants_lock };
        let queued = state == State::Queued as u32;
        if queued {
            self.queued = thread.queued;
            self.context = thread.context;
            self.message.copy_from(&thread.message);
        } else {
            self.queued = now;
        }
        queued
    }

    /// What is wrong with the message's sequence number.
    #[inline(always)]
    pub const fn anomaly(&self) -> Option<Anomaly> {
        const REPLAY: u32 = SequenceCheck::Replay as u32;
        const GAP: u32 = SequenceCheck::Gap as u32;
        match self.sequence {
            REPLAY => Some(Anomaly::Replay),
            GAP => Some(Anomaly::Gap),
            _ => None,
        }
    }

    /// The stages of a request that has ended.
    #[inline(always)]
    pub fn stages(&self) -> Stages {
        Stages::of(self, self.ended)
    }
}

/// Room for nested commands; the mutex admits no others.
pub const DEPTH: usize = 4;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Stack {
    /// How many of `running` are valid.
    pub depth: u64,
    /// Nonzero from when a command's entry is popped until all that it adds is counted.
    pub counting: u64,
    pub running: [Running; DEPTH],
}

impl Stack {
    /// A command has the PSP: makes room for it on top. Returns how many older commands were
    /// dropped: their return was missed, as the mutex is now held by another thread, or by this one
    /// at the same depth.
    #[inline(always)]
    pub fn push(&mut self, thread: PidTgid, stack: u64) -> u64 {
        let mut depth = self.depth as usize;
        let mut lost = 0;
        if depth != 0 {
            for level in (0..DEPTH).rev() {
                let top = &self.running[level];
                let encloses = top.thread == thread && top.stack > stack;
                if depth == level + 1 && (!encloses || depth == DEPTH) {
                    depth = level;
                    lost += 1;
                }
            }
        }
        self.depth = depth as u64 + 1;
        lost
    }

    /// The entry at a depth that [`Stack::push`] made, to be filled in place.
    #[inline(always)]
    pub fn begin(&mut self, depth: u64, thread: PidTgid, stack: u64) -> &mut Running {
        let entry = &mut self.running[depth.wrapping_sub(1) as usize & (DEPTH - 1)];
        entry.thread = thread;
        entry.stack = stack;
        entry.nested = 0;
        entry
    }

    /// The command that `thread` issued has returned; `None` if its start was missed. It is being
    /// counted until [`Stack::counted`].
    #[inline(always)]
    pub fn pop(&mut self, thread: PidTgid) -> Option<&mut Running> {
        let depth = self.depth as usize;
        if depth == 0 || depth > DEPTH {
            return None;
        }
        let top = depth - 1;
        if self.running[top & (DEPTH - 1)].thread != thread {
            return None;
        }
        self.counting = 1;
        self.depth = top as u64;
        Some(&mut self.running[top & (DEPTH - 1)])
    }

    /// The last popped command, if it is this thread's and still being counted.
    #[inline(always)]
    pub fn popped(&mut self, thread: PidTgid) -> Option<&mut Running> {
        let popped = &mut self.running[self.depth as usize & (DEPTH - 1)];
        (self.counting != 0 && popped.thread == thread).then_some(popped)
    }

    /// All that the popped command adds is counted.
    #[inline(always)]
    pub fn counted(&mut self) {
        self.counting = 0;
    }

    /// Excludes a returned command's time from the command that encloses it.
    #[inline(always)]
    pub fn charge_enclosing(&mut self, ns: u64) {
        let depth = self.depth as usize;
        if depth != 0 {
            self.running[(depth - 1) & (DEPTH - 1)].nested += ns;
        }
    }

    /// The innermost running command, if it is this thread's. For programs: masked, not checked, as
    /// the verifier must see the bound.
    #[inline(always)]
    pub fn top_of(&mut self, thread: PidTgid) -> Option<&mut Running> {
        let top = (self.depth.wrapping_sub(1) as usize) & (DEPTH - 1);
        let running = &mut self.running[top];
        (self.depth != 0 && running.thread == thread).then_some(running)
    }

    /// The innermost running command.
    pub fn top(&self) -> Option<&Running> {
        let depth = usize::try_from(self.depth).ok()?;
        self.running.get(depth.checked_sub(1)?)
    }
}
