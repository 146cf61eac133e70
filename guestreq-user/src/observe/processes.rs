//! # Reading other processes
//!
//! What stands in /proc/PID can take as long to read as that process, or whoever holds its locks,
//! likes: `cmdline` is memory of its own, which may be on a page that nobody brings, behind a lock
//! that a stuck driver holds. So only threads of their own read there, and the agent's loop waits a
//! moment for them at most. What they have not read by then is unread: everything else goes on, and
//! the answer is taken when it comes, which wakes the loop.

mod threads;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use guestreq_common::vm::VmRef;
use tokio::sync::Notify;

use self::threads::Threads;
use crate::{
    bpf::pins::identities::Known,
    host::{
        self, Evidence, Identified,
        system::{self, System},
    },
};

/// How many processes may leave their reader waiting: about as many as there can be SNP VMs on a
/// host, so that few keep no other from its name. Each costs a thread, some 40 KiB, until it answers
/// or ends; the next one is unread at once.
const MOST_LOOKS: usize = 256;
/// For so long the loop waits for one answer. It takes well under a millisecond where nothing is
/// wrong.
const MOMENT: Duration = Duration::from_millis(50);
/// For so long it waits for all answers together, in each second.
const WAITS: Duration = Duration::from_millis(100);

/// What is asked of /proc for the table of VMs.
pub struct Processes {
    looks: Threads<Lookup, io::Result<Option<Known>>>,
    rounds: Threads<(), Vec<Found>>,
    signals: Threads<(), Vec<Signal>>,
    waits: Waits,
}

/// A process that is looked at for a VM: a number alone may become another process'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    pub pid: u32,
    pub vm: VmRef,
    /// By when the process must have begun, in ns of CLOCK_MONOTONIC.
    pub began_by: u64,
}

/// A running VM, of which it is asked from time to time which pod its process is in.
#[derive(Clone, Debug)]
pub struct Running {
    pub id: VmRef,
    pub pid: u32,
    /// The process' start, in ticks.
    pub started: Option<u64>,
}

/// The pod that it is in.
pub struct Found {
    pub vm: Running,
    pub pod_uid: String,
    /// What tells it.
    pub evidence: Evidence,
}

/// A running VM whose VMM's signal is wanted.
pub struct Handler {
    pub id: VmRef,
    pub pid: u32,
    pub vmm: String,
}

/// The signal that takes its vCPUs out of the guest: see [`host::kick_signal`].
pub struct Signal {
    pub id: VmRef,
    pub signal: Option<u64>,
}

impl Default for Processes {
    fn default() -> Processes {
        Processes::new(Arc::default())
    }
}

impl Processes {
    /// Answers that come late notify `wake`.
    pub fn new(wake: Arc<Notify>) -> Processes {
        Processes {
            looks: Threads::new(MOST_LOOKS, Arc::clone(&wake)),
            rounds: Threads::new(1, Arc::clone(&wake)),
            signals: Threads::new(1, wake),
            waits: Waits::default(),
        }
    }

    /// What a process says of itself; `None` where that is not read yet.
    pub fn look(&mut self, look: Lookup) -> Option<io::Result<Option<Known>>> {
        self.look_by(look, look_at)
    }

    fn look_by(
        &mut self,
        look: Lookup,
        read: impl FnOnce(Lookup) -> io::Result<Option<Known>> + Send + 'static,
    ) -> Option<io::Result<Option<Known>>> {
        // Another question to a process that does not answer would be as little answered.
        let is_asked = |other: &Lookup| other.pid == look.pid && *other != look;
        if self.looks.is_any_open(is_asked) {
            return None;
        }
        if self.looks.start(look, move || read(look)) {
            let (looks, waits) = (&self.looks, &mut self.waits);
            return waits.wait(Instant::now(), |moment| looks.wait(&look, moment));
        }
        self.looks.take(&look)
    }

    /// Drops answers that nobody wants any more.
    pub fn keep(&self, is_wanted: impl Fn(&Lookup) -> bool) {
        self.looks.keep(is_wanted);
    }

    /// Why a process that was looked at is unread.
    pub fn why(&self, look: &Lookup) -> String {
        if self.looks.is_any_open(|other| other.pid == look.pid) {
            return format!("{} does not answer", system::host().process(look.pid).display());
        }
        format!("{MOST_LOOKS} other processes do not answer")
    }

    /// Has it asked which pods VMs are in, unless the last such question is open.
    pub fn ask_round(&self, vms: Vec<Running>) {
        self.rounds.start((), || vms.into_iter().filter_map(find).collect());
    }

    pub fn take_round(&self) -> Option<Vec<Found>> {
        self.rounds.take(&())
    }

    /// The same for signals. VMs may be waiting for them, so for a moment this does, too.
    pub fn signals(&mut self, vms: impl FnOnce() -> Vec<Handler>) -> Option<Vec<Signal>> {
        if self.signals.is_any_open(|()| true) {
            return None;
        }
        if let Some(signals) = self.signals.take(&()) {
            return Some(signals);
        }
        let vms = vms();
        if vms.is_empty() {
            return None;
        }
        let Processes { signals, waits, .. } = self;
        signals.start((), || vms.into_iter().map(signal).collect());
        waits.wait(Instant::now(), |moment| signals.wait(&(), moment))
    }
}

/// What a process says of itself, if it is there and began in time.
fn look_at(look: Lookup) -> io::Result<Option<Known>> {
    let in_time = |ticks: u64| host::began_ns(ticks) <= look.began_by;
    let read = read(system::host(), look.pid, in_time)?;
    Ok(read.map(|(Identified { identity, evidence }, started)| Known {
        identity,
        evidence,
        pid: look.pid,
        started: Some(started),
    }))
}

/// What a process says of itself, and when it began, in ticks. A number may become another
/// process' while its files are read: what was read of two is nobody's.
pub fn read(
    system: &System,
    pid: u32,
    is_meant: impl Fn(u64) -> bool,
) -> io::Result<Option<(Identified, u64)>> {
    let Some(started) = host::start_ticks(system, pid)?.filter(|ticks| is_meant(*ticks)) else {
        return Ok(None);
    };
    let read = host::identify(system, pid)?;
    let is_it = host::start_ticks(system, pid)? == Some(started);
    Ok(read.filter(|_| is_it).map(|read| (read, started)))
}

fn find(vm: Running) -> Option<Found> {
    let system = system::host();
    // The number may be another process' by now.
    let is_it = host::start_ticks(system, vm.pid).is_ok_and(|it| it.is_some() && it == vm.started);
    let (pod_uid, evidence) = is_it.then(|| host::pod_uid(system, vm.pid)).flatten()?;
    Some(Found { vm, pod_uid, evidence })
}

fn signal(Handler { id, pid, vmm }: Handler) -> Signal {
    Signal { id, signal: host::kick_signal(system::host(), pid, &vmm) }
}

/// What is left of the loop's patience.
struct Waits {
    left: Duration,
    since: Option<Instant>,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits { left: WAITS, since: None }
    }
}

impl Waits {
    /// Waits for a moment, or for what is left of this second's.
    fn wait<A>(&mut self, now: Instant, wait: impl FnOnce(Duration) -> A) -> A {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            *self = Waits { left: WAITS, since: Some(now) };
        }
        let answer = wait(self.left.min(MOMENT));
        self.left = self.left.saturating_sub(now.elapsed());
        answer
    }
}

#[cfg(test)]
mod tests;
