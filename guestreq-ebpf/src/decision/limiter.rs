//! # Limiters' states
//!
//! What a request leaves behind for its VM's next one: a debt of PSP time, and the place of a message
//! that must come back.

use guestreq_common::{
    message::{Summary, VMPCKS},
    outcome::Outcome,
    policy::{Decision, Limiter},
    request::Running,
    units::{GuestContext, MonotonicNs},
    vm::Vm,
    waiting::{LostCause, WaitingMessages, lost_bit},
};

use super::policy_of;
use crate::{atomic, maps};

/// The state of a VM's limits; of a guest context's, if it has no slot.
#[inline(always)]
fn limiter(vm: Option<&'static mut Vm>, context: GuestContext) -> Option<&'static mut Limiter> {
    match vm {
        Some(vm) => Some(&mut vm.limiter),
        None => maps::limiter(context),
    }
}

/// Charges a request's service time to its VM's share.
#[inline(always)]
pub fn charge(running: &Running) {
    let Some(host) = maps::host() else { return };
    let share = policy_of(running, &host.enforcement).share();
    if share.is_off() {
        return;
    }
    let service = running.ended.since(running.started);
    if let Some(limiter) = limiter(maps::vm(running.vm), running.context) {
        limiter.debt.charge(share, host.service_ns, service, running.ended);
    }
}

/// Keeps the place of a message that got BUSY, and frees that of one that did not.
#[inline(always)]
pub fn remember(
    waiting: &mut WaitingMessages,
    message: &Summary,
    effect: Decision,
    now: MonotonicNs,
) {
    match effect {
        Decision::Admit => waiting.serve(message.vmpck),
        Decision::Busy => waiting.refuse(message.vmpck, message.seqno, now),
        Decision::Deny => {
            waiting.serve(message.vmpck);
            lose(waiting, message.vmpck);
        }
    }
}

/// A denial: a Linux guest wipes the VMPCK.
#[inline(always)]
fn lose(waiting: &mut WaitingMessages, vmpck: u8) {
    let bit = lost_bit(vmpck, LostCause::Denied);
    if (vmpck as usize) < VMPCKS && waiting.lost & bit == 0 {
        atomic::change_bits(&mut waiting.lost, 0, bit);
        waiting.losses[LostCause::Denied as usize] += 1;
    }
}

/// The PSP has answered a message: it waits no longer, and if it succeeded, its VMPCK is not lost.
#[inline(always)]
pub fn answered(running: &Running, outcome: Outcome) {
    let Some(limiter) = limiter(maps::vm(running.vm), running.context) else { return };
    let (waiting, vmpck) = (&mut limiter.waiting, running.message.vmpck);
    waiting.serve(vmpck);
    let bits = lost_bit(vmpck, LostCause::Denied) | lost_bit(vmpck, LostCause::Busy);
    if outcome == Outcome::OK && waiting.lost & bits != 0 {
        atomic::change_bits(&mut waiting.lost, bits, 0);
    }
}
