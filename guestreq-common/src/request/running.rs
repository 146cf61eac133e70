//! # Commands that have the PSP
//!
//! `__sev_do_cmd_locked` runs under `sev_cmd_mutex`, so there is one running
//! command per host, or two when ccp reclaims pages from within one: [`Stack`]
//! holds them.

use super::{Stages, State, Thread};
use crate::{message::Summary, sequence::Anomaly, vm::VmRef};

/// A command that the PSP works on. The request's part is empty for other commands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Running {
    /// `bpf_get_current_pid_tgid()` of the thread that issued it.
    pub thread: u64,
    /// The thread's stack pointer on entry: a nested call's is lower.
    pub stack: u64,
    /// When the PSP was taken (t2), in ns of CLOCK_MONOTONIC.
    pub started: u64,
    /// How long other commands ran inside this one.
    pub nested: u64,
    /// Where ccp will store the firmware's status.
    pub status_at: u64,
    pub wants_lock: u64,
    pub queued: u64,
    pub context: u64,
    pub message: Summary,
    pub command: u32,
    pub vm: u32,
    pub generation: u32,
    /// How it ended ([`crate::outcome::of_command`]). Written here and read anew: of each value that the
    /// verifier knows it walks all of what follows; what has been in a map it does not know.
    pub outcome: u32,
    /// Until when its vCPU is to be kept out of its guest, if it is: [`Thread::held_until`].
    pub held_until: u64,
    /// When it ended, what it returned, and what was found about its number: for the program
    /// that does what not every command needs.
    pub ended: u64,
    pub ret: i32,
    /// [`Numbered`]
    pub numbered: u32,
}

/// Whether a message's number was looked at, and what was found.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// It was not: its VM has no record, or its header could not be read.
    NotYet = 0,
    Right = 1,
    Replay = 2,
    Gap = 3,
}

impl Numbered {
    #[inline(always)]
    pub const fn of(anomaly: Option<Anomaly>) -> Numbered {
        match anomaly {
            None => Numbered::Right,
            Some(Anomaly::Replay) => Numbered::Replay,
            Some(Anomaly::Gap) => Numbered::Gap,
        }
    }
}

impl Running {
    /// t2: the PSP takes a thread's request over. Whether it was seen to queue: if not, its context
    /// and header are the caller's to read.
    #[inline(always)]
    pub fn take_over(&mut self, thread: &mut Thread, now: u64) -> bool {
        let state = thread.state;
        thread.state = State::Idle as u32;
        (self.vm, self.generation) = (thread.vm, thread.generation);
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

    /// Whose it is.
    #[inline(always)]
    pub const fn whose(&self) -> VmRef {
        VmRef { slot: self.vm, generation: self.generation }
    }

    /// Of one that has ended.
    #[inline(always)]
    pub fn stages(&self) -> Stages {
        Stages::of(self, self.ended)
    }
}

/// Commands that run inside each other; the mutex makes it the host's only ones.
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
    /// A command has the PSP: makes room for it on top, and says how many older ones were
    /// dropped. Their return was never seen, as the mutex' holder is another thread now, or
    /// this one at the same depth.
    #[inline(always)]
    pub fn push(&mut self, thread: u64, stack: u64) -> u64 {
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

    /// The entry at a depth that [`Stack::push`] made, to be filled where it stands.
    #[inline(always)]
    pub fn begin(&mut self, depth: u64, thread: u64, stack: u64) -> &mut Running {
        let entry = &mut self.running[depth.wrapping_sub(1) as usize & (DEPTH - 1)];
        entry.thread = thread;
        entry.stack = stack;
        entry.nested = 0;
        entry
    }

    /// The command that `thread` issued has returned; `None` if its start was not seen. Until
    /// [`Stack::counted`] it is being counted.
    #[inline(always)]
    pub fn pop(&mut self, thread: u64) -> Option<&mut Running> {
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

    /// The command that was popped last, if it was this thread's and is still being counted.
    #[inline(always)]
    pub fn popped(&mut self, thread: u64) -> Option<&mut Running> {
        let popped = &mut self.running[self.depth as usize & (DEPTH - 1)];
        (self.counting != 0 && popped.thread == thread).then_some(popped)
    }

    /// All that the popped command adds is counted.
    #[inline(always)]
    pub fn counted(&mut self) {
        self.counting = 0;
    }

    /// Time that the command which has just returned took is not its enclosing one's.
    #[inline(always)]
    pub fn charge_enclosing(&mut self, ns: u64) {
        let depth = self.depth as usize;
        if depth != 0 {
            self.running[(depth - 1) & (DEPTH - 1)].nested += ns;
        }
    }

    /// The same, for a program; masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn top_of(&mut self, thread: u64) -> Option<&mut Running> {
        let top = (self.depth.wrapping_sub(1) as usize) & (DEPTH - 1);
        let running = &mut self.running[top];
        (self.depth != 0 && running.thread == thread).then_some(running)
    }

    /// The innermost command that runs now.
    pub fn top(&self) -> Option<&Running> {
        let depth = usize::try_from(self.depth).ok()?;
        self.running.get(depth.checked_sub(1)?)
    }
}
