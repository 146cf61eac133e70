//! # Turns of refused messages
//!
//! VMs with equal limits would retry at the same moments and queue for the PSP together. So a
//! message that was refused also waits for its turn: such messages follow one another as fast as
//! the PSP answers, the one that was refused first before the others.

use crate::{gcra::Cell, units::MonotonicNs};

/// How long a refused message that now conforms may have to wait for its turn.
pub const MAX_TURN_WAIT_NS: u64 = 500_000_000;
/// Refused messages come no further apart, however slow the PSP is.
pub(crate) const MAX_SPACING_NS: u64 = MAX_TURN_WAIT_NS / 2;

/// Spaces out the host's messages that were over their VMs' limits.
pub struct Turn<'a, C> {
    /// When the next may come.
    pub next: &'a C,
    /// When the one that had the last turn was first refused.
    pub last_refused: &'a C,
    /// The spacing: how long the PSP takes.
    pub spacing_ns: u64,
}

impl<C: Cell> Turn<'_, C> {
    /// Whether a message may come that was first refused at a time, and would have conformed
    /// `waited` ns ago. Another one may read the cells in between: then both come, or one that is
    /// older waits like the others.
    #[inline(always)]
    pub fn take(&self, now: u64, first_refused: MonotonicNs, waited: u64) -> bool {
        let next = self.next.load();
        let spacing =
            if self.spacing_ns > MAX_SPACING_NS { MAX_SPACING_NS } else { self.spacing_ns };
        let ahead = next.saturating_sub(now);
        // Further ahead than possible: another clock's.
        let free = ahead == 0 || ahead > MAX_SPACING_NS;
        let last = self.last_refused.load();
        let goes_before = waited >= MAX_TURN_WAIT_NS || first_refused.0 < last;
        if !free && !goes_before {
            return false;
        }
        // One of those that race is first.
        let taken = self.next.replace(next, now.saturating_add(spacing));
        self.last_refused.replace(last, first_refused.0);
        taken || goes_before
    }
}

#[cfg(test)]
mod tests;
