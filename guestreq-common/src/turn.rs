//! # Turns of refused messages
//!
//! VMs with equal limits would retry at the same moments and queue for the PSP together, and every
//! other VM behind them. So a message that was refused also waits for its turn, and so does each
//! message of a VM that has used more than half of its share's burst. Such messages follow one
//! another as fast as the PSP answers, the one that was refused first before the others. As refused
//! guests return only after a while, the VM that had the last turn may continue meanwhile: the PSP is not
//! idle, and yet only one of these VMs asks at a time.

use crate::{
    arithmetic::{at_most, difference, sum},
    gcra::Cell,
    units::{GuestContext, MonotonicNs},
};

/// How long a message that conforms may have to wait for its turn.
pub const MAX_TURN_WAIT_NS: u64 = 10_000_000_000;
/// Such messages come no further apart, however slow the PSP is.
pub(crate) const MAX_SPACING_NS: u64 = 250_000_000;

/// Spaces out messages of VMs that use what their limits allow.
pub struct Turn<'a, C> {
    /// When the next may come.
    pub next: &'a C,
    /// When the one that had the last turn was first refused.
    pub last_refused: &'a C,
    /// The guest context that had the last turn.
    pub holder: &'a C,
    /// The one that asks now.
    pub context: GuestContext,
    /// The spacing: how long the PSP takes.
    pub spacing_ns: u64,
}

impl<C: Cell> Turn<'_, C> {
    /// Whether a message may come that was first refused at a time (`now` if it is new), and would have
    /// conformed `waited` ns ago. Another one may read the cells in between: then both come, or one that is
    /// older waits like the others.
    #[inline(always)]
    pub fn take(&self, now: u64, first_refused: MonotonicNs, waited: u64) -> bool {
        let next = self.next.load();
        let spacing = at_most(self.spacing_ns, MAX_SPACING_NS);
        let ahead = difference(next, now);
        // Further ahead than possible: another clock's.
        let ahead = if ahead > 2 * MAX_SPACING_NS { 0 } else { ahead };
        let (last, holder) = (self.last_refused.load(), self.holder.load());
        // KVM sends one request of a VM at a time: its last one has been answered. A message that was
        // refused waits like the others'.
        let continues = holder == self.context.0 && first_refused.0 >= now;
        let ahead = if continues { 0 } else { ahead };
        // An older message need not wait for the one that is just being served.
        let is_free = ahead == 0 || ahead < spacing && first_refused.0 < last;
        let has_waited = waited >= MAX_TURN_WAIT_NS;
        if !is_free && !has_waited {
            return false;
        }
        // Not beyond what counts as another clock's, however many have waited.
        let ahead = at_most(ahead, spacing);
        // One of those that race is first.
        let taken = self.next.replace(next, sum(sum(now, ahead), spacing));
        if !taken && !has_waited {
            return false;
        }
        self.last_refused.replace(last, first_refused.0);
        self.holder.replace(holder, self.context.0);
        true
    }
}

#[cfg(test)]
mod tests;
