//! # A guest's manners
//!
//! What one vCPU does: its requests, and how it takes BUSY and errors. The honest
//! part is what Linux does in drivers/virt/coco/sev-guest.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::attack::{Attack, Technique, cue::Cue, leader};
use crate::cli::Behavior;
use crate::ghcb::Ghcb;
use crate::keys::Keys;
use crate::noise::Noise;
use crate::outcome::{Action, Outcome};
use crate::pace::{Pace, wait_until};
use crate::race::race;
use crate::request::Request;
use crate::scribble::scribble;
use crate::signals::{stopping, with_request_in_flight};
use crate::tally::Tally;
use crate::vcpu::Vcpu;

/// What a vCPU that somebody stopped for good is told by KVM_RUN.
pub const STOPPED: Outcome = Outcome::Errno(libc::EPERM);

/// Does all that the behavior says, with one vCPU.
pub fn behave(vcpu: &mut Vcpu, index: u32, keys: &Keys, behavior: &Behavior) -> Result<Tally> {
    if !behavior.scribble {
        return requests(vcpu, index, keys, behavior);
    }
    let (memory, pages) = (vcpu.memory(), vcpu.pages());
    let noise = Noise::of(behavior.seed, index, u64::MAX);
    scribble(&memory, pages, noise, || requests(vcpu, index, keys, behavior))?
}

fn requests(vcpu: &mut Vcpu, index: u32, keys: &Keys, behavior: &Behavior) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut stopped = false;
    for _ in 0..behavior.vmgexits {
        let start = Instant::now();
        let outcome = expect_features(vcpu.vmgexit(&Ghcb::unrelated())?);
        tally.add(Action::Vmgexit, outcome, start.elapsed());
        stopped = outcome == STOPPED;
        if stopped || stopping() {
            break;
        }
    }
    let mut pace = Pace::new(behavior);
    while !stopped && !keys.wiped(behavior.vmpck) && pace.next() {
        if pace.done - 1 == behavior.cue_after {
            attack(vcpu, behavior)?;
            pace.begin_anew();
        }
        let outcome = match behavior.forge_answer {
            Some(answer) => Some(forge(vcpu, answer, &mut tally)?),
            None => {
                let request = Request::plan(behavior, index, pace.done - 1);
                send(vcpu, keys, behavior, &request, &mut tally)?
            }
        };
        stopped = outcome == Some(STOPPED);
    }
    tally.reruns = vcpu.reruns;
    Ok(tally)
}

/// Waits for the cue. From here on the VMM is hostile, if it is at all.
fn attack(vcpu: &mut Vcpu, behavior: &Behavior) -> Result<()> {
    Cue::new(behavior.cue.as_ref()).wait();
    if behavior.attack == Some(Technique::LeaderExits) {
        while !leader::has_left()? {
            ensure!(!stopping(), "stopped before the main thread had left");
            wait_until(Instant::now() + Duration::from_millis(5));
        }
    }
    vcpu.attack = Attack::new(behavior)?;
    Ok(())
}

/// The answer to the unrelated VMGEXIT is a set of feature bits, not a status.
fn expect_features(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Firmware(_) => Outcome::Ok,
        other => other,
    }
}

fn forge(vcpu: &mut Vcpu, answer: u64, tally: &mut Tally) -> Result<Outcome> {
    let start = Instant::now();
    let outcome = vcpu.forge(answer)?;
    tally.add(Action::Vmgexit, outcome, start.elapsed());
    Ok(outcome)
}

/// Sends one message, again and again while the VMM says BUSY, and tells how that
/// ended; None if its key was wiped. A number that did not pass is the next
/// message's again: hostile guests go on after a refusal.
fn send(
    vcpu: &mut Vcpu,
    keys: &Keys,
    behavior: &Behavior,
    request: &Request,
    tally: &mut Tally,
) -> Result<Option<Outcome>> {
    let Some(mut count) = keys.hold(request.vmpck) else {
        return Ok(None);
    };
    let seqno = request.seqno(*count);
    let header = request.header(seqno);
    let begin = Instant::now();
    let give_up = begin + Duration::from_millis(behavior.busy_give_up_ms);
    let last = loop {
        // the hypervisor overwrites the GHCB, and could the message
        vcpu.put_message(&header)?;
        let (outcome, took) = attempt(vcpu, request, behavior.extended)?;
        tally.add(request.action(), outcome, took);
        if outcome != Outcome::Busy || Instant::now() >= give_up {
            break outcome;
        }
        if stopping() {
            // neither answered nor given up
            return Ok(Some(outcome));
        }
        wait_until(Instant::now() + Duration::from_millis(behavior.busy_retry_ms));
    };
    tally.add_whole(request.action(), last, begin.elapsed());
    if request.passed(last) {
        *count = seqno + 1;
    }
    if behavior.give_up_on_error && last != Outcome::Ok {
        keys.wipe(request.vmpck);
        tally.wiped += 1;
    }
    Ok(Some(last))
}

/// One VMGEXIT with the message that lies ready, and how long it took.
fn attempt(vcpu: &mut Vcpu, request: &Request, extended: bool) -> Result<(Outcome, Duration)> {
    let ghcb = request.ghcb(vcpu, extended);
    let memory = vcpu.memory();
    let type_byte = memory.byte(vcpu.message_type_gpa())?;
    let mut vmgexit = || {
        let start = Instant::now();
        let outcome = with_request_in_flight(|| vcpu.vmgexit(&ghcb))?;
        Ok((outcome, start.elapsed()))
    };
    match request.race {
        Some(types) => race(type_byte, types, vmgexit)?,
        None => vmgexit(),
    }
}
