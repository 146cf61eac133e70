//! # GCRA: how often a VM may ask
//!
//! The generic cell rate algorithm: one number of state per VM, the *theoretical
//! arrival time* at which the next request would arrive if they all came evenly
//! spaced. A request conforms if it comes at most `tolerance` before it. So a VM
//! that was quiet may send `burst` requests at once, then one per `interval`.
//!
//! Over any time t no more than burst + t / interval requests are admitted, and
//! one that comes `interval` after the last admitted one always is.
//!
//! VMs with the same limit that push against it would come back together, and queue
//! for the PSP together. So one that was refused waits for its turn as well
//! ([`Turn`]): such VMs come one after the other, as fast as the PSP answers.

/// A limit in one word, so that it changes at once: 20 bits of burst, 44 of interval in ns.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit(u64);

const INTERVAL_BITS: u32 = 44;

/// Requests that may come at once, at most.
pub const MAX_BURST: u64 = (1 << 20) - 1;
/// A million requests a second: more than any PSP answers.
pub const MIN_INTERVAL_NS: u64 = 1_000;
/// One request an hour.
pub const MAX_INTERVAL_NS: u64 = 3_600_000_000_000;

/// How far ahead of what a limit allows a state may be before it is taken for another limit's.
/// Callers that race may differ by what a clock read on another CPU differs; this is far more.
const SLACK_NS: u64 = 1_000_000_000;

/// In the state: the last request was refused. The time below it lasts for 292 years.
const REFUSED: u64 = 1 << 63;

/// How long a request that was refused, and would conform now, may have to wait for its turn.
pub const PATIENCE_NS: u64 = 500_000_000;
/// VMs that were refused come no further apart, however slow the PSP is.
pub const MAX_SPACING_NS: u64 = PATIENCE_NS / 2;

/// Where a state stands. Implemented by an atomic natively, and by an instruction on a
/// map's element in the kernel.
pub trait Cell {
    fn load(&self) -> u64;
    /// Stores `new` if `old` still stands there; whether it did.
    fn replace(&self, old: u64, new: u64) -> bool;
}

/// Tries to write the state before a caller that races with others is told to come back.
pub const TRIES: u32 = 4;

/// What became of a request that asked the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// It came too early by so many ns.
    Early(u64),
    /// It would conform, and another VM that was refused has just come.
    NotItsTurn,
    /// Others wrote the state each time: it counts as too early.
    Contended,
}

/// The host's VMs that were over their limits come one after the other.
pub struct Turn<'a, C> {
    /// When the next may come.
    pub next: &'a C,
    /// How far apart they come: how long the PSP takes.
    pub spacing_ns: u64,
}

impl<C: Cell> Turn<'_, C> {
    /// Whether a request that has waited for so long since it would conform may come now.
    #[inline(always)]
    fn take(&self, now: u64, waited: u64) -> bool {
        let next = self.next.load();
        let spacing =
            if self.spacing_ns > MAX_SPACING_NS { MAX_SPACING_NS } else { self.spacing_ns };
        let ahead = next.saturating_sub(now);
        // Further ahead than it can be: another clock's.
        let free = ahead == 0 || ahead > MAX_SPACING_NS;
        if !free && waited < PATIENCE_NS {
            return false;
        }
        // Of those that race one has come first.
        self.next.replace(next, now.saturating_add(spacing)) || waited >= PATIENCE_NS
    }
}

impl Limit {
    pub const OFF: Limit = Limit(0);

    /// `None` outside the bounds above.
    pub const fn new(interval_ns: u64, burst: u64) -> Option<Limit> {
        if interval_ns < MIN_INTERVAL_NS || interval_ns > MAX_INTERVAL_NS {
            return None;
        }
        if burst == 0 || burst > MAX_BURST {
            return None;
        }
        Some(Limit(burst << INTERVAL_BITS | interval_ns))
    }

    pub const fn from_bits(bits: u64) -> Limit {
        Limit(bits)
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

    /// How far the state is ahead of now; bounded, so that a state that another limit left, or
    /// another clock, is used up in a second more than this limit's own would be.
    #[inline(always)]
    const fn ahead(self, state: u64, now: u64) -> u64 {
        let ahead = (state & !REFUSED).saturating_sub(now);
        let most = self.tolerance().saturating_add(self.interval_ns()).saturating_add(SLACK_NS);
        if ahead > most { most } else { ahead }
    }

    /// A request that comes now: the state after it is admitted, or by how much it is early.
    #[inline(always)]
    pub const fn admit(self, state: u64, now: u64) -> Result<u64, u64> {
        let ahead = self.ahead(state, now);
        let tolerance = self.tolerance();
        if ahead > tolerance {
            return Err(ahead - tolerance);
        }
        Ok(now.saturating_add(ahead).saturating_add(self.interval_ns()) & !REFUSED)
    }

    /// For how long a request would have conformed already, at least.
    #[inline(always)]
    const fn waited(self, state: u64, now: u64) -> u64 {
        now.saturating_add(self.tolerance()).saturating_sub(state & !REFUSED)
    }

    /// A request that cannot be refused any more: the state after it, and if it came too early
    /// the time before which its sender is not to send another.
    #[inline(always)]
    pub const fn charge(self, state: u64, now: u64) -> (u64, Option<u64>) {
        let ahead = self.ahead(state, now);
        let state = now.saturating_add(ahead).saturating_add(self.interval_ns()) & !REFUSED;
        let early = ahead > self.tolerance();
        (state, if early { Some(state.saturating_sub(self.tolerance())) } else { None })
    }

    /// The state after a refusal. A bucket that another limit left far behind begins anew: a
    /// request that waited for that would be refused for hours.
    #[inline(always)]
    const fn refuse(self, state: u64, now: u64) -> u64 {
        now.saturating_add(self.ahead(state, now)) | REFUSED
    }

    /// Asks for one request at `now`, whoever else does.
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
                        // Whoever else comes writes the same.
                        cell.replace(old, refused);
                    }
                    return Admission::Early(early);
                }
            }
        }
        Admission::Contended
    }

    /// Charges one request at `now`; if it came too early, the time before which its sender is
    /// not to send another.
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
