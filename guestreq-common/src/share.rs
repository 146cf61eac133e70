//! # Share limits: PSP time
//!
//! A VM may use a share of the PSP's time, whatever a request costs today. It owes the service time
//! of each of its requests, charged when the PSP has answered, and repays `share` of the time that
//! passes. A request conforms while the VM owes at most `burst`. KVM sends one request of a VM at a
//! time (`guest_req_mutex`), so in any time t a VM uses at most share * t + burst + one service.
//!
//! This is GCRA in units of PSP time; what is owed means the same under any share, so a policy
//! change need not convert it.

use crate::{
    arithmetic::{at_least, at_most, difference, sum},
    units::MonotonicNs,
    verifier::forget,
};

/// Share in parts per million (20 bits) and burst in ns (44 bits; 0: the default) in one word, so
/// that both change atomically.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PspShare(u64);

const BURST_BITS: u32 = 44;

/// All of the PSP.
pub const MAX_PPM: u64 = 1_000_000;
/// 0.01 %: a request of 7.7 ms each 77 s.
pub const MIN_PPM: u64 = 100;
pub const MIN_BURST_NS: u64 = 1_000_000;
pub const MAX_BURST_NS: u64 = 60_000_000_000;

/// The default burst is at least this long, and at least [`DEFAULT_BURST_SERVICES`].
pub const DEFAULT_BURST_NS: u64 = 200_000_000;
/// One request per VMPCK, so that a guest that uses all of them at boot does not get BUSY.
pub const DEFAULT_BURST_SERVICES: u64 = 4;

/// More than a VM can owe: a command takes at most 100 s (`psp_cmd_timeout`).
const MAX_OWED_NS: u64 = 3_600_000_000_000;
/// Beyond its burst and one request, a VM owes at most what it repays in this time. Only requests that
/// cannot be refused lead so far: each vCPU's without a gate, and those that have waited too long. No
/// vCPU is held that long, and no message waits that long.
const MAX_REPAYMENT_NS: u64 = 60_000_000_000;

impl PspShare {
    pub const OFF: PspShare = PspShare(0);

    /// `burst_ns` of 0 is the default, which follows the PSP's speed. `None` outside the bounds.
    pub const fn new(ppm: u64, burst_ns: u64) -> Option<PspShare> {
        if ppm < MIN_PPM || ppm > MAX_PPM {
            return None;
        }
        if burst_ns != 0 && (burst_ns < MIN_BURST_NS || burst_ns > MAX_BURST_NS) {
            return None;
        }
        Some(PspShare(ppm << BURST_BITS | burst_ns))
    }

    pub const fn from_bits(bits: u64) -> PspShare {
        PspShare(bits)
    }

    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Without a share nothing is limited, whatever the burst.
    #[inline(always)]
    pub const fn is_off(self) -> bool {
        self.ppm() == 0
    }

    #[inline(always)]
    pub const fn ppm(self) -> u64 {
        self.0 >> BURST_BITS
    }

    /// The configured burst; 0: the default.
    #[inline(always)]
    pub const fn burst_ns(self) -> u64 {
        self.0 & ((1 << BURST_BITS) - 1)
    }

    /// The PSP time that a VM may owe before its requests are over the limit. `mean_ns`: the PSP's
    /// mean time for a request.
    #[inline(always)]
    pub const fn burst(self, mean_ns: u64) -> u64 {
        let configured = self.burst_ns();
        if configured != 0 {
            return configured;
        }
        let services = at_most(mean_ns, MAX_OWED_NS) * DEFAULT_BURST_SERVICES;
        at_least(services, DEFAULT_BURST_NS)
    }

    /// What is repaid in a time; rounded down, without overflow.
    #[inline(always)]
    const fn repaid(self, elapsed_ns: u64) -> u64 {
        let (whole, rest) = (elapsed_ns / MAX_PPM, elapsed_ns % MAX_PPM);
        whole.wrapping_mul(self.ppm()).wrapping_add(rest * self.ppm() / MAX_PPM)
    }

    /// How long it takes to repay something; rounded up. The share is not off.
    #[expect(
        clippy::manual_div_ceil,
        reason = "div_ceil branches, and the verifier walks both ways"
    )]
    #[inline(always)]
    pub const fn time_to_repay(self, owed_ns: u64) -> u64 {
        let ppm = self.ppm();
        if ppm == 0 {
            // The BPF instruction gives 0, a division here would panic.
            return 0;
        }
        let owed_ns = at_most(owed_ns, MAX_OWED_NS);
        let (whole, rest) = (owed_ns / ppm, owed_ns % ppm);
        whole * MAX_PPM + (rest * MAX_PPM + ppm - 1) / ppm
    }
}

/// What a VM owes. Only the VM's own requests change it, one at a time, so plain writes are exact.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// In ns of PSP time.
    owed_ns: u64,
    /// When it owed that.
    at: MonotonicNs,
    /// Under which [`PspShare`].
    under: u64,
    /// A word of the computation in progress, which the verifier must not know.
    scratch: u64,
}

/// Whether a VM may send, as far as its share is concerned: for how many ns it could have, or if
/// negative, in how many it may. One word, which programs pass through a map.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit(pub i64);

impl Credit {
    /// Of a VM without a share.
    pub const UNLIMITED: Credit = Credit(i64::MAX);

    /// The VM may send, and could have for so many ns.
    #[inline(always)]
    pub const fn since(ns: u64) -> Credit {
        Credit(ns as i64)
    }

    /// The VM may send in so many ns.
    #[inline(always)]
    pub const fn after(ns: u64) -> Credit {
        Credit((ns as i64).wrapping_neg())
    }

    #[inline(always)]
    pub const fn is_over(self) -> bool {
        self.0 < 0
    }

    /// In how many ns it may send; 0 if it may now.
    #[inline(always)]
    pub const fn wait_ns(self) -> u64 {
        if self.0 < 0 { self.0.wrapping_neg() as u64 } else { 0 }
    }
}

impl Debt {
    /// What it owes now. What it owed under another limit counts up to this one's burst: a lower
    /// limit does not refuse for what a higher one allowed.
    #[inline(always)]
    fn owed(&mut self, share: PspShare, mean_ns: u64, now: MonotonicNs) -> u64 {
        let elapsed = forget(&mut self.scratch, now.since(self.at));
        let repaid = PspShare(self.under).repaid(elapsed);
        let owed = forget(&mut self.scratch, difference(self.owed_ns, repaid));
        if self.under == share.0 {
            return owed;
        }
        let burst = forget(&mut self.scratch, share.burst(mean_ns));
        at_most(owed, burst)
    }

    /// Whether a VM may send. `reserved_ns` is kept for its messages that wait longer.
    #[inline(always)]
    pub fn credit(
        &mut self,
        share: PspShare,
        mean_ns: u64,
        reserved_ns: u64,
        now: MonotonicNs,
    ) -> Credit {
        let owed = sum(self.owed(share, mean_ns, now), reserved_ns);
        let owed = forget(&mut self.scratch, owed);
        let burst = forget(&mut self.scratch, share.burst(mean_ns));
        if owed > burst {
            Credit::after(share.time_to_repay(owed - burst))
        } else {
            Credit::since(share.time_to_repay(burst - owed))
        }
    }

    /// For how long a VM could have sent; 0 if it may not. Unlike a [`Credit`] not at most the time in
    /// which it repays its burst.
    #[inline(always)]
    pub fn conforms_for(
        &mut self,
        share: PspShare,
        mean_ns: u64,
        reserved_ns: u64,
        now: MonotonicNs,
    ) -> u64 {
        let burst = forget(&mut self.scratch, share.burst(mean_ns));
        let beyond = difference(sum(self.owed_ns, reserved_ns), burst);
        let beyond = forget(&mut self.scratch, beyond);
        difference(now.since(self.at), share.time_to_repay(beyond))
    }

    /// A limit that another one replaces, or a clock that went back: what is owed begins again from
    /// here.
    #[inline(always)]
    pub fn settle(&mut self, share: PspShare, mean_ns: u64, now: MonotonicNs) {
        if self.under != share.0 || now.0 < self.at.0 {
            self.charge(share, mean_ns, 0, now);
        }
    }

    /// Charges a request's service time, once the PSP has answered it.
    #[inline(always)]
    pub fn charge(&mut self, share: PspShare, mean_ns: u64, service_ns: u64, now: MonotonicNs) {
        let service_ns = at_most(service_ns, MAX_OWED_NS);
        let before = self.owed(share, mean_ns, now);
        let owed = forget(&mut self.scratch, sum(before, service_ns));
        let burst = forget(&mut self.scratch, share.burst(mean_ns));
        let most = sum(sum(burst, share.repaid(MAX_REPAYMENT_NS)), service_ns);
        // What it owed under a default burst that was longer is not forgiven.
        let most = forget(&mut self.scratch, at_least(before, most));
        self.owed_ns = at_most(at_most(owed, most), MAX_OWED_NS);
        self.at = now;
        self.under = share.0;
    }
}

#[cfg(test)]
mod tests;
