//! # What is told of a verdict

use guestreq_common::{
    event::{self, Event},
    message::Summary,
    outcome,
    policy::{Decision, Verdict},
};

use super::Asker;
use crate::maps;

/// Denials one by one; of a row of requests over the limit the first, and the end of the row. With
/// `all`, the others of the row, too: nothing else tells of them.
#[inline(always)]
pub fn tell(all: bool, asker: &Asker, message: &Summary, verdict: &Verdict, now: u64) {
    let effect = verdict.effect();
    let busy = effect as u8 == Decision::Busy as u8;
    let kind = if effect as u8 == Decision::Deny as u8 {
        event::Kind::Denied
    } else if maps::vm(asker.vm).is_some_and(|vm| vm.changes_row(busy, now)) {
        if busy { event::Kind::Throttled } else { event::Kind::Unthrottled }
    } else if busy && all {
        event::Kind::Request
    } else {
        return;
    };
    tell_as(kind, asker, message, now);
}

#[inline(always)]
pub fn tell_bypass(asker: &Asker, message: &Summary, now: u64) {
    tell_as(event::Kind::Bypassed, asker, message, now);
}

#[inline(always)]
fn tell_as(kind: event::Kind, asker: &Asker, message: &Summary, now: u64) {
    let outcome = match kind {
        event::Kind::Denied => outcome::DENIED,
        event::Kind::Throttled | event::Kind::Request => outcome::BUSY,
        _ => outcome::OK,
    };
    maps::tell(Event {
        time: now,
        seqno: message.seqno,
        stage_ns: [0; 3],
        tgid: asker.tgid,
        vm: asker.vm.slot,
        generation: asker.vm.generation,
        ret: 0,
        kind: kind as u8,
        message_type: message.message_type,
        vmpck: message.vmpck,
        outcome,
        reserved: 0,
    });
}
