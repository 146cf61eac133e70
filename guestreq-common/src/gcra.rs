//! # GCRA: rate limits
//!
//! The generic cell rate algorithm keeps one number per VM: the *theoretical arrival time* of the
//! next request if all came evenly spaced. A request conforms if it comes at most `tolerance` before
//! that. An idle VM may send `burst` requests at once, then one per `interval`.
//!
//! In any time t at most burst + t / interval requests are admitted; one that comes `interval` after
//! the last admitted one always is.
//!
//! A message that was refused before, or whose VM uses up its share, also waits for its [`Turn`].
//!
//! Times are ns of CLOCK_MONOTONIC.

use crate::{
    arithmetic::{at_most, difference, sum},
    turn::Turn,
    units::MonotonicNs,
};

/// Burst (20 bits) and interval in ns (44 bits) in one word, so that both change atomically.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcraLimit(u64);

const INTERVAL_BITS: u32 = 44;

/// Requests at once, at most.
pub const MAX_BURST: u64 = (1 << 20) - 1;
/// A million requests a second: more than any PSP answers.
pub const MIN_INTERVAL_NS: u64 = 1_000;
/// One request an hour.
pub const MAX_INTERVAL_NS: u64 = 3_600_000_000_000;

/// A state further ahead than its limit allows plus this is another limit's. Racing callers may
/// differ by the skew between CPUs' clocks; this is far more.
const SLACK_NS: u64 = 1_000_000_000;

/// A state: natively an atomic, in the kernel a map element and one instruction.
pub trait Cell {
    fn load(&self) -> u64;
    /// Compare and exchange; whether it succeeded.
    fn replace(&self, old: u64, new: u64) -> bool;
}

/// Attempts to write the state before a racing caller gets BUSY.
const TRIES: u32 = 4;

/// The limiter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Too early by so many ns.
    Early(u64),
    /// It conforms, but another refused message has just come.
    NotItsTurn,
    /// Others wrote the state at each attempt: counts as too early.
    Contended,
}

/// A request, as far as a limiter is concerned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    pub now: u64,
    /// When its message was first refused; never: it is new.
    pub first_refused: MonotonicNs,
    /// Whether even a new message needs a turn.
    pub takes_turns: bool,
    /// For how long other limits would have admitted it.
    pub conforms_for: u64,
    /// The VM's messages that go first, for each of which one request is kept.
    pub older: u64,
}

impl GcraLimit {
    pub const OFF: GcraLimit = GcraLimit(0);

    /// `None` outside the bounds above.
    pub const fn new(interval_ns: u64, burst: u64) -> Option<GcraLimit> {
        if interval_ns < MIN_INTERVAL_NS || interval_ns > MAX_INTERVAL_NS {
            return None;
        }
        if burst == 0 || burst > MAX_BURST {
            return None;
        }
        Some(GcraLimit(burst << INTERVAL_BITS | interval_ns))
    }

    pub const fn from_bits(bits: u64) -> GcraLimit {
        GcraLimit(bits)
    }

    pub const fn to_bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub const fn is_off(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub const fn interval_ns(self) -> u64 {
        self.0 & ((1 << INTERVAL_BITS) - 1)
    }

    #[inline(always)]
    pub const fn burst(self) -> u64 {
        self.0 >> INTERVAL_BITS
    }

    /// How early a request may come.
    #[inline(always)]
    const fn tolerance(self) -> u64 {
        self.interval_ns().wrapping_mul(self.burst().wrapping_sub(1))
    }

    /// How far the state is ahead of now. Bounded, so that a state of another limit or clock delays
    /// at most a second longer than this limit's own.
    #[inline(always)]
    const fn ahead(self, state: u64, now: u64) -> u64 {
        let ahead = difference(state, now);
        let most = sum(sum(self.tolerance(), self.interval_ns()), SLACK_NS);
        at_most(ahead, most)
    }

    /// For a request now, the state once it is admitted, or by how many ns it is early. `older`
    /// requests are kept for others.
    #[inline(always)]
    pub const fn admit(self, state: u64, now: u64, older: u64) -> Result<u64, u64> {
        let ahead = self.ahead(state, now);
        let needs = sum(ahead, self.interval_ns().wrapping_mul(older));
        let tolerance = self.tolerance();
        if needs > tolerance {
            return Err(needs - tolerance);
        }
        Ok(sum(sum(now, ahead), self.interval_ns()))
    }

    /// For how many ns a request would have conformed, at least.
    #[inline(always)]
    const fn waited(self, state: u64, now: u64) -> u64 {
        difference(sum(now, self.tolerance()), state)
    }

    /// For a request that can no longer be refused, the state after it, and if it was early the
    /// earliest time its sender may send again.
    #[inline(always)]
    pub const fn charge(self, state: u64, now: u64) -> (u64, Option<u64>) {
        let ahead = self.ahead(state, now);
        let state = sum(sum(now, ahead), self.interval_ns());
        let early = ahead > self.tolerance();
        (state, if early { Some(difference(state, self.tolerance())) } else { None })
    }

    /// Asks for one request, concurrently with others.
    #[inline(always)]
    pub fn ask<C: Cell, T: Cell>(self, cell: &C, turn: &Turn<'_, T>, it: &Arrival) -> Admission {
        // Once, before the first attempt: the verifier would walk it in each.
        let is_new = it.first_refused.is_never();
        if !is_new || it.takes_turns {
            let first_refused = if is_new { MonotonicNs(it.now) } else { it.first_refused };
            let state = cell.load();
            let (conforms, waited) = if self.is_off() {
                (true, it.conforms_for)
            } else {
                let waited = self.waited(state, it.now);
                (self.admit(state, it.now, it.older).is_ok(), at_most(waited, it.conforms_for))
            };
            if conforms && !turn.take(it.now, first_refused, waited) {
                return Admission::NotItsTurn;
            }
        }
        if self.is_off() {
            return Admission::Admitted;
        }
        let (early, old) = 'tries: {
            for _ in 0..TRIES {
                let old = cell.load();
                match self.admit(old, it.now, it.older) {
                    Ok(new) if cell.replace(old, new) => return Admission::Admitted,
                    Ok(_) => {}
                    Err(early) => break 'tries (early, old),
                }
            }
            return Admission::Contended;
        };
        self.pull_back(cell, old, it.now);
        Admission::Early(early)
    }

    /// Drops what another limit left far ahead in the state, which would refuse for hours.
    #[inline(always)]
    fn pull_back<C: Cell>(self, cell: &C, old: u64, now: u64) {
        let kept = sum(now, self.ahead(old, now));
        if kept < old {
            cell.replace(old, kept);
        }
    }

    /// Charges one request at `now`; if it was early, the earliest time its sender may send again.
    #[inline(always)]
    pub fn take<C: Cell>(self, cell: &C, now: u64) -> Option<u64> {
        if self.is_off() {
            return None;
        }
        for _ in 0..TRIES {
            let old = cell.load();
            let (new, until) = self.charge(old, now);
            if cell.replace(old, new) {
                return until;
            }
        }
        Some(sum(now, self.interval_ns()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
