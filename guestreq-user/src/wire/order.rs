//! # The API: the gate's order
//!
//! Part of `GET /v1/psp`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The gate's order of guest requests; counts and times since the gate was loaded.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    /// How many requests it lets through to the PSP's mutex at a time; 0: it is off.
    pub depth: u64,
    /// Share of the PSP's time for which launches may hold requests.
    pub launch_share: f64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that were let through and are not answered yet. They are more than `depth` while some
    /// are overdue, or while requests are owed time beside many launches.
    pub in_flight: u64,
    /// A slot is free, but whoever is next is held for the next command of a launch.
    pub held: bool,
    /// Share of time in which requests were held for launches, in the last `window_seconds`.
    pub recent_held_share: f64,
    /// Requests that were let through, overdue ones included.
    pub grants: u64,
    /// Requests that went to the PSP without a slot, because the order stood still for 10 s.
    pub overdue: u64,
    /// How many of these in the last `window_seconds`.
    pub recent_overdue: u64,
    /// Requests whose task was killed while they waited.
    pub killed: u64,
    /// Total of all waits that have ended.
    pub waited_seconds: f64,
    /// For how long a slot was free and somebody waited for it, because of a launch.
    pub held_seconds: f64,
    /// The PSP's time for launches.
    pub launch_seconds: f64,
    /// The PSP's time for guest requests.
    pub request_seconds: f64,
    /// Who waits, by turns: the first one is next, except when another one has waited for 10 s and
    /// has this slot; at most the first 256. Read a moment after the counts.
    pub waiters: Vec<Waiter>,
    /// Why `waiters` cannot be read; null if it was.
    pub waiters_error: Option<String>,
}

/// A guest request that waits in the order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Waiter {
    /// Its VM, if known.
    pub vm: Option<String>,
    /// Process of the VMM; 0 if it is in another PID namespace than the agent's /proc.
    pub pid: u32,
    /// Its VM's weight.
    pub weight: u8,
    /// For how long it has waited.
    pub waited_seconds: f64,
    /// Why: `launch`: it is next, and held for a launch; `slot`: it is next, and others have all
    /// slots; `turn`: another one that waits is before it.
    pub reason: Cow<'static, str>,
    /// Who is before it, if known: who waits before it, or has the PSP, or launches.
    pub behind: Option<String>,
}

impl Order {
    /// Most requests that are listed.
    pub const MOST_LISTED: usize = 256;
}

impl Waiter {
    pub const LAUNCH: &'static str = "launch";
    pub const SLOT: &'static str = "slot";
    pub const TURN: &'static str = "turn";

    /// Its VM's label, or its process if it has none.
    pub fn label_or_pid(&self) -> String {
        self.vm.clone().unwrap_or_else(|| format!("pid {}", self.pid))
    }
}
