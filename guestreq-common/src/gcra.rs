//! # GCRA: rate limits
//!
//! The generic cell rate algorithm keeps one number per VM: the *theoretical arrival time* of the
//! next request if all came evenly spaced. A request conforms if it comes at most `tolerance` before
//! that. An idle VM may send `burst` requests at once, then one per `interval`.
//!
//! In any time t at most burst + t / interval requests are admitted; one that comes `interval` after
//! the last admitted one always is.
//!
//! VMs with equal limits would retry at the same moments and queue for the PSP together. So a
//! refused VM also waits for its [`Turn`]: such VMs follow one another as fast as the PSP answers.
//!
//! Times are ns of CLOCK_MONOTONIC.

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

/// In the state: the last request was refused. The 63 bits below last 292 years.
const REFUSED: u64 = 1 << 63;

/// How long a refused request that now conforms may have to wait for its turn.
pub const MAX_TURN_WAIT_NS: u64 = 500_000_000;
/// Refused VMs come no further apart, however slow the PSP is.
const MAX_SPACING_NS: u64 = MAX_TURN_WAIT_NS / 2;

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
    /// It conforms, but another refused VM has just come.
    NotItsTurn,
    /// Others wrote the state at each attempt: counts as too early.
    Contended,
}

/// Spaces out the host's VMs that were over their limits.
pub struct Turn<'a, C> {
    /// When the next may come.
    pub next: &'a C,
    /// The spacing: how long the PSP takes.
    pub spacing_ns: u64,
}

impl<C: Cell> Turn<'_, C> {
    /// Whether a request may come that would have conformed `waited` ns ago.
    #[inline(always)]
    fn take(&self, now: u64, waited: u64) -> bool {
        let next = self.next.load();
        let spacing =
            if self.spacing_ns > MAX_SPACING_NS { MAX_SPACING_NS } else { self.spacing_ns };
        let ahead = next.saturating_sub(now);
        // Further ahead than possible: another clock's.
        let free = ahead == 0 || ahead > MAX_SPACING_NS;
        if !free && waited < MAX_TURN_WAIT_NS {
            return false;
        }
        // One of those that race is first.
        self.next.replace(next, now.saturating_add(spacing)) || waited >= MAX_TURN_WAIT_NS
    }
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
        let ahead = (state & !REFUSED).saturating_sub(now);
        let most = self.tolerance().saturating_add(self.interval_ns()).saturating_add(SLACK_NS);
        if ahead > most { most } else { ahead }
    }

    /// For a request now, the state once it is admitted, or by how many ns it is early.
    #[inline(always)]
    pub const fn admit(self, state: u64, now: u64) -> Result<u64, u64> {
        let ahead = self.ahead(state, now);
        let tolerance = self.tolerance();
        if ahead > tolerance {
            return Err(ahead - tolerance);
        }
        Ok(now.saturating_add(ahead).saturating_add(self.interval_ns()) & !REFUSED)
    }

    /// For how many ns a request would have conformed, at least.
    #[inline(always)]
    const fn waited(self, state: u64, now: u64) -> u64 {
        now.saturating_add(self.tolerance()).saturating_sub(state & !REFUSED)
    }

    /// For a request that can no longer be refused, the state after it, and if it was early the
    /// earliest time its sender may send again.
    #[inline(always)]
    pub const fn charge(self, state: u64, now: u64) -> (u64, Option<u64>) {
        let ahead = self.ahead(state, now);
        let state = now.saturating_add(ahead).saturating_add(self.interval_ns()) & !REFUSED;
        let early = ahead > self.tolerance();
        (state, if early { Some(state.saturating_sub(self.tolerance())) } else { None })
    }

    /// The state after a refusal. Drops what another limit left far ahead, which would refuse
    /// requests for hours.
    #[inline(always)]
    const fn refuse(self, state: u64, now: u64) -> u64 {
        now.saturating_add(self.ahead(state, now)) | REFUSED
    }

    /// Asks for one request at `now`, concurrently with others.
    #[inline(always)]
    pub fn ask<C: Cell, T: Cell>(self, cell: &C, turn: &Turn<'_, T>, now: u64) -> Admission {
        if self.is_off() {
            return Admission::Admitted;
        }
        let mut has_turn = false;
        for _ in 0..TRIES {
            let old = cell.load();
            match self.admit(old, now) {
                Ok(new) => {
                    if old & REFUSED != 0 && !has_turn {
                        if !turn.take(now, self.waited(old, now)) {
                            return Admission::NotItsTurn;
                        }
                        has_turn = true;
                    }
                    if cell.replace(old, new) {
                        return Admission::Admitted;
                    }
                }
                Err(early) => {
                    let refused = self.refuse(old, now);
                    if refused != old {
                        // Others write the same.
                        cell.replace(old, refused);
                    }
                    return Admission::Early(early);
                }
            }
        }
        Admission::Contended
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
        Some(now.saturating_add(self.interval_ns()))
    }
}

#[cfg(test)]
mod tests;
