//! # A guest's behavior
//!
//! What one vCPU does: its requests, and how it handles BUSY and errors. Without options it follows
//! Linux' drivers/virt/coco/sev-guest.

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

/// KVM_RUN's result on a vCPU that was stopped for good.
pub const STOPPED: Outcome = Outcome::Errno(libc::EPERM);

/// Runs the whole behavior with one vCPU.
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
            pace.restart();
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

/// Waits for the cue, then starts the attack, if any.
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

/// Sends one message, repeating it on BUSY, and returns the outcome; None if its key was wiped.
/// After a refusal the next message reuses the sequence number.
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
        // the hypervisor overwrites the GHCB and could overwrite the message
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

/// One VMGEXIT with the prepared message, and its duration.
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
