//! # Messages that wait: BUSY keeps its place
//!
//! A guest that gets BUSY sends the very same message again, every two seconds, for a minute, and
//! then wipes that VMPCK (drivers/virt/coco/sev-guest, `__handle_guest_request`). So a VM's record
//! remembers for each VMPCK which message waits and since when. That message is served before
//! younger ones, and after [`RESCUE_NS`] it is admitted whatever the limits say: no VMPCK is lost to
//! a limit, and a guest that invents sequence numbers gains one request per VMPCK in that time.
//!
//! KVM sends one request of a VM at a time (`guest_req_mutex`), so plain writes are exact.

use core::hint::black_box;

use crate::{
    message::VMPCKS,
    units::MonotonicNs,
    verifier::{forget, reload},
};

/// How long a message waits before it is admitted regardless: half of [`LOST_NS`].
pub const RESCUE_NS: u64 = 30_000_000_000;
/// How long a guest retries before it wipes the VMPCK.
pub const LOST_NS: u64 = 60_000_000_000;
/// How long after its last BUSY a guest is expected back: Linux sleeps two seconds.
const RETURN_NS: u64 = 2_500_000_000;

/// A message that was refused and has not been admitted since.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub seqno: u64,
    /// Never: no message of this VMPCK waits.
    pub first_refused: MonotonicNs,
    pub last_refused: MonotonicNs,
}

named_enum! {
    /// Why a guest has lost a VMPCK, as far as the host can tell.
    pub enum LostCause {
        /// Its message was denied: Linux wipes the VMPCK at once.
        Denied = 0 => "denied",
        /// Its message was refused with BUSY, and never admitted within [`LOST_NS`].
        Busy = 1 => "busy",
    }
}

pub const LOST_CAUSES: usize = LostCause::ALL.len();

/// A VM's waiting messages, and the VMPCKs that it has probably lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitingMessages {
    pub by_vmpck: [Waiting; VMPCKS],
    /// One bit per VMPCK whose message waits.
    pub waits: u32,
    /// One bit per VMPCK and [`LostCause`]; written atomically, also by the agent.
    pub lost: u32,
    /// Those of [`WaitingMessages::lost`] that were reported; written by the agent.
    pub reported: u32,
    pub reserved: u32,
    /// VMPCKs lost so far. The cell of [`LostCause::Busy`] is the agent's.
    pub losses: [u64; LOST_CAUSES],
}

/// What a message's decision depends on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// When this very message was first refused; never: it is new.
    pub first_refused: MonotonicNs,
    /// Messages of the VM's other VMPCKs that have waited longer and are expected back.
    pub older: u64,
    /// Nonzero if the VM has used more than half of its share's burst.
    pub pushes: u64,
    /// Since when it counts as waiting.
    pub since: MonotonicNs,
}

impl Place {
    /// Whether the message is admitted whatever the limits say.
    #[inline(always)]
    pub const fn is_overdue(&self, now: MonotonicNs) -> bool {
        !self.first_refused.is_never() && now.since(self.first_refused) >= RESCUE_NS
    }
}

/// Masked, not checked: the verifier must see the bound. Opaque, as the compiler would drop the mask of
/// what it has compared, perhaps in a copy.
#[inline(always)]
fn index(vmpck: u8) -> usize {
    black_box(vmpck) as usize & (VMPCKS - 1)
}

/// The bit of a VMPCK and cause in [`WaitingMessages::lost`].
#[inline(always)]
pub const fn lost_bit(vmpck: u8, cause: LostCause) -> u32 {
    1 << ((vmpck as u32 & (VMPCKS as u32 - 1)) + cause as u32 * VMPCKS as u32)
}

impl WaitingMessages {
    /// Whether any message waits.
    #[inline(always)]
    pub const fn any(&self) -> bool {
        self.waits != 0
    }

    /// Writes a message's place. VMPCKs above 3 have none: the firmware rejects their messages.
    #[inline(always)]
    pub fn place(&self, place: &mut Place, vmpck: u8, seqno: u64, now: MonotonicNs) {
        *place = Place::default();
        if !self.any() || vmpck as usize >= VMPCKS {
            return;
        }
        let own = &self.by_vmpck[index(vmpck)];
        let is_it = own.seqno == seqno;
        let first_refused = if is_it { own.first_refused } else { MonotonicNs::NEVER };
        let first_refused = forget(&mut place.first_refused, first_refused);
        let since = if first_refused.is_never() { now } else { first_refused };
        let since = forget(&mut place.since, since);
        for (number, other) in self.by_vmpck.iter().enumerate() {
            let waits = !other.first_refused.is_never() && other.first_refused < since;
            let returns = now.since(other.last_refused) < RETURN_NS;
            let older =
                reload(&place.older) + (waits && returns && number != vmpck as usize) as u64;
            forget(&mut place.older, older);
        }
    }

    /// A message got BUSY. Another number takes the place of the one that waited.
    #[inline(always)]
    pub fn refuse(&mut self, vmpck: u8, seqno: u64, now: MonotonicNs) {
        if vmpck as usize >= VMPCKS {
            return;
        }
        let own = &mut self.by_vmpck[index(vmpck)];
        if own.first_refused.is_never() || own.seqno != seqno {
            own.seqno = seqno;
            own.first_refused = now.max(MonotonicNs(1));
            self.waits |= 1 << (vmpck as u32 & (VMPCKS as u32 - 1));
        }
        own.last_refused = now;
    }

    /// A message of this VMPCK reaches the PSP: nothing of it waits any more.
    #[inline(always)]
    pub fn serve(&mut self, vmpck: u8) {
        if !self.any() || vmpck as usize >= VMPCKS {
            return;
        }
        self.by_vmpck[index(vmpck)].first_refused = MonotonicNs::NEVER;
        self.waits &= !(1 << (vmpck as u32 & (VMPCKS as u32 - 1)));
    }
}

#[cfg(test)]
mod tests;
