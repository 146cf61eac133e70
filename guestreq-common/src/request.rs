//! # A request on its way
//!
//! A guest request lives on one thread from the moment KVM wants the VM's lock
//! until the PSP has answered. [`Thread`] is its state until the PSP takes it,
//! [`Running`] from then on. `__sev_do_cmd_locked` runs under `sev_cmd_mutex`,
//! so there is one running command per host, or two when ccp reclaims pages
//! from within one: [`Stack`] holds them.

use crate::{message::Summary, outcome, sequence::Anomaly};

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

/// A vCPU thread: its VM, and its request until the PSP takes it.
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

/// A request that ended on the host, without the PSP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// Unknown where the header was never read.
    pub message: Summary,
    /// Whether it had queued for the PSP.
    pub queued: bool,
}

impl Thread {
    /// t0: KVM wants the VM's lock. An older request that is still open failed on the host.
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

    /// t1: the header is final and the thread queues for the PSP.
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
        if state == State::Queued as u32 {
            Some(Abandoned { message: self.message, queued: true })
        } else if state == State::WantsLock as u32 {
            Some(Abandoned { message: Summary::UNKNOWN, queued: false })
        } else {
            None
        }
    }
}

/// No VM: a command that no VM asked for, or one that found the table full.
pub const NO_VM: u32 = u32::MAX;

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
    /// How it ended ([`outcome::of_command`]). Written here and read anew: of each value that the
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
    /// Not yet: its counters are not in the VM's record, or it has none.
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
    /// Nonzero from before a command's entry is popped until all that it adds is counted: together
    /// with `depth` it tells another version's agent whether the totals stand.
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
        self.set_counting(1);
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
        self.set_counting(0);
    }

    #[inline(always)]
    fn set_counting(&mut self, counting: u64) {
        // SAFETY: a field of our own; volatile, as another reads it meanwhile.
        unsafe { core::ptr::write_volatile(&mut self.counting, counting) };
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
