//! # Events of decisions

use guestreq_common::{
    event::{Event, EventKind},
    message::Summary,
    outcome::Outcome,
    policy::{Decision, Evaluation},
    units::MonotonicNs,
};

use super::Sender;
use crate::maps;

/// Reports each denial, each message that was admitted because it had waited so long, and the first
/// and the end of a series of requests over the limit. With `all`, also the rest of the series:
/// nothing else reports them.
#[inline(always)]
pub fn report(
    all: bool,
    sender: &Sender,
    message: &Summary,
    evaluation: &Evaluation,
    now: MonotonicNs,
) {
    let effect = evaluation.effect();
    let busy = effect == Decision::Busy;
    let kind = if effect == Decision::Deny {
        EventKind::Denied
    } else if evaluation.rescued {
        EventKind::Rescued
    } else if maps::vm(sender.vm).is_some_and(|vm| vm.throttle_edge(busy, now)) {
        if busy { EventKind::Throttled } else { EventKind::Unthrottled }
    } else if busy && all {
        EventKind::Request
    } else {
        return;
    };
    report_as(kind, sender, message, now);
}

#[inline(always)]
pub fn report_bypass(sender: &Sender, message: &Summary, now: MonotonicNs) {
    report_as(EventKind::Bypassed, sender, message, now);
}

#[inline(always)]
fn report_as(kind: EventKind, sender: &Sender, message: &Summary, now: MonotonicNs) {
    let outcome = match kind {
        EventKind::Denied => Outcome::DENIED,
        EventKind::Throttled | EventKind::Request => Outcome::BUSY,
        _ => Outcome::OK,
    };
    maps::report(Event {
        time: now,
        seqno: message.seqno,
        tgid: sender.tgid,
        vm: sender.vm,
        kind: kind as u8,
        message_type: message.message_type,
        vmpck: message.vmpck,
        outcome,
        ..Event::default()
    });
}
