//! # Reading other processes
//!
//! Reading /proc/PID can block for ever: `cmdline` is memory of that process, which may have to be
//! paged in, behind a lock that a stuck driver may hold. So separate threads read it, and the
//! agent's loop waits for them only briefly. Until then the process is unread; its answer wakes the
//! loop when it comes.

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

/// Most blocked lookups: about as many as a host can have SNP VMs, so that a few stuck processes
/// keep no other VM unnamed. Each costs a thread (some 40 KiB) until it answers; beyond them a
/// process is unread at once.
const MAX_LOOKUPS: usize = 256;
/// How long the loop waits for one answer, which normally takes well under a millisecond.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(50);
/// How long it waits for all answers together, in each second.
const WAIT_BUDGET: Duration = Duration::from_millis(100);

/// Looks up in /proc what the table of VMs needs.
pub struct Processes {
    lookups: Threads<Lookup, io::Result<Option<Known>>>,
    pods: Threads<(), Vec<Found>>,
    signals: Threads<(), Vec<Signal>>,
    waits: Waits,
}

/// A VM's process to read; pids are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    pub pid: u32,
    pub vm: VmRef,
    /// By when the process must have begun, in ns of CLOCK_MONOTONIC.
    pub began_by: u64,
}

/// A running VM whose pod is looked up.
#[derive(Clone, Debug)]
pub struct Running {
    pub id: VmRef,
    pub pid: u32,
    /// The process' start, in ticks.
    pub started: Option<u64>,
}

/// A VM's pod.
pub struct Found {
    pub vm: Running,
    pub pod_uid: String,
    pub evidence: Evidence,
}

/// A running VM whose VMM's kick signal is looked up.
pub struct Handler {
    pub id: VmRef,
    pub pid: u32,
    pub vmm: String,
}

/// See [`host::kick_signal`].
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
            lookups: Threads::new(MAX_LOOKUPS, Arc::clone(&wake)),
            pods: Threads::new(1, Arc::clone(&wake)),
            signals: Threads::new(1, wake),
            waits: Waits::default(),
        }
    }

    /// The process' identity; `None` while it is unread.
    pub fn look_up(&mut self, lookup: Lookup) -> Option<io::Result<Option<Known>>> {
        self.look_up_by(lookup, read_known)
    }

    fn look_up_by(
        &mut self,
        lookup: Lookup,
        read: impl FnOnce(Lookup) -> io::Result<Option<Known>> + Send + 'static,
    ) -> Option<io::Result<Option<Known>>> {
        // A second lookup of a blocked process would block as well.
        let is_blocked = |other: &Lookup| other.pid == lookup.pid && *other != lookup;
        if self.lookups.is_any_open(is_blocked) {
            return None;
        }
        if self.lookups.start(lookup, move || read(lookup)) {
            let (lookups, waits) = (&self.lookups, &mut self.waits);
            return waits.wait(Instant::now(), |timeout| lookups.wait(&lookup, timeout));
        }
        self.lookups.take(&lookup)
    }

    /// Drops answers that are no longer wanted.
    pub fn keep(&self, is_wanted: impl Fn(&Lookup) -> bool) {
        self.lookups.keep(is_wanted);
    }

    /// Why a process is unread.
    pub fn unread_reason(&self, lookup: &Lookup) -> String {
        if self.lookups.is_any_open(|other| other.pid == lookup.pid) {
            return format!("{} does not answer", system::host().process(lookup.pid).display());
        }
        format!("{MAX_LOOKUPS} other processes do not answer")
    }

    /// Starts to look up VMs' pods, unless the last lookup is still open.
    pub fn start_pod_lookup(&self, vms: Vec<Running>) {
        self.pods.start((), || vms.into_iter().filter_map(find_pod).collect());
    }

    pub fn take_pods(&self) -> Option<Vec<Found>> {
        self.pods.take(&())
    }

    /// The same for signals, with a short wait, as VMs may be waiting for them.
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
        waits.wait(Instant::now(), |timeout| signals.wait(&(), timeout))
    }
}

/// The identity of a process that exists and began in time.
fn read_known(lookup: Lookup) -> io::Result<Option<Known>> {
    let in_time = |ticks: u64| host::began_ns(ticks) <= lookup.began_by;
    let read = read(system::host(), lookup.pid, in_time)?;
    Ok(read.map(|(Identified { identity, evidence }, started)| Known {
        identity,
        evidence,
        pid: lookup.pid,
        started: Some(started),
    }))
}

/// A process' identity, and its start in ticks. If the pid is reused while its files are read, the
/// result is discarded.
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

fn find_pod(vm: Running) -> Option<Found> {
    let system = system::host();
    // The pid may have been reused.
    let is_it = host::start_ticks(system, vm.pid).is_ok_and(|it| it.is_some() && it == vm.started);
    let (pod_uid, evidence) = is_it.then(|| host::pod_uid(system, vm.pid)).flatten()?;
    Some(Found { vm, pod_uid, evidence })
}

fn signal(Handler { id, pid, vmm }: Handler) -> Signal {
    Signal { id, signal: host::kick_signal(system::host(), pid, &vmm) }
}

/// How long the loop may still wait in this second.
struct Waits {
    left: Duration,
    since: Option<Instant>,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits { left: WAIT_BUDGET, since: None }
    }
}

impl Waits {
    /// Waits for [`ANSWER_TIMEOUT`], or what is left of this second's [`WAIT_BUDGET`].
    fn wait<A>(&mut self, now: Instant, wait: impl FnOnce(Duration) -> A) -> A {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            *self = Waits { left: WAIT_BUDGET, since: Some(now) };
        }
        let answer = wait(self.left.min(ANSWER_TIMEOUT));
        self.left = self.left.saturating_sub(now.elapsed());
        answer
    }
}

#[cfg(test)]
mod tests;
