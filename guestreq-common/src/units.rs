//! # Times, threads and addresses
//!
//! Numbers of one word each, as the kernel gives them and as records hold them.

use crate::arithmetic::difference;

/// A time of CLOCK_MONOTONIC, in ns; 0 in a record is [`MonotonicNs::NEVER`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonotonicNs(pub u64);

impl MonotonicNs {
    pub const NEVER: MonotonicNs = MonotonicNs(0);

    #[inline(always)]
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }

    /// Nanoseconds since an earlier time; 0 if it is later, as another CPU's clock may be.
    #[inline(always)]
    pub const fn since(self, earlier: MonotonicNs) -> u64 {
        difference(self.0, earlier.0)
    }

    #[inline(always)]
    pub const fn plus(self, ns: u64) -> MonotonicNs {
        MonotonicNs(self.0.wrapping_add(ns))
    }
}

/// What bpf_get_current_pid_tgid() returns: process (tgid) in the high half, thread in the low.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidTgid(pub u64);

impl PidTgid {
    #[inline(always)]
    pub const fn tgid(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub const fn tid(self) -> u32 {
        self.0 as u32
    }
}

/// A physical address, possibly with the encryption bit (`sme_me_mask`).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhysAddr(pub u64);

/// The guest context of a VM by its physical address (`gctx_paddr`), as commands name it; 0: none.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestContext(pub u64);

impl GuestContext {
    pub const NONE: GuestContext = GuestContext(0);

    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub const fn address(self) -> PhysAddr {
        PhysAddr(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_process_and_thread() {
        let it = PidTgid(7 << 32 | 9);
        assert_eq!((it.tgid(), it.tid()), (7, 9));
    }

    #[test]
    fn a_later_time_is_no_time_ago() {
        let (now, later) = (MonotonicNs(5), MonotonicNs(5).plus(3));
        assert_eq!((later.since(now), now.since(later), now.is_never()), (3, 0, false));
    }

    #[test]
    fn only_address_0_is_no_guest_context() {
        assert!(GuestContext::NONE.is_none() && !GuestContext(1).is_none());
    }
}
