//! # Tracers of the gate's function
//!
//! Debuggers, profilers and security agents attach to any function. In either order the gate
//! decides as usual, they see the calls, and both can be removed. A kernel warning fails the boot.

use anyhow::{Context as _, Result, ensure};

use super::ensure_all;
use crate::{
    fixed_answer::{Answer, FixedAnswer},
    gate::{Gate, GateCounts},
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
    tracers::{self, Tracer},
};

scenario!(TRACED: "gate/tracers" = traced,
    "the gate and tracers of its function do not affect each other");

/// Requests for each answer.
const COUNT: u64 = 5;

/// Loads that `decides` runs, one for each answer.
const RUNS: u64 = 3;

fn traced(_: &Context) -> Result<Status> {
    for tracer in tracers::ALL {
        let launch = tracer_first(tracer).with_context(|| format!("{tracer:?} before the gate"))?;
        gate_first(tracer, launch).with_context(|| format!("{tracer:?} after the gate"))?;
    }
    Ok(Status::Passed)
}

/// Calls with the gate: KVM's for each command, and the gate's own unless the request is denied or
/// BUSY.
fn calls(launch: u64) -> u64 {
    2 * (RUNS * launch + COUNT) + 2 * COUNT
}

/// Returns how many calls of the same function a launch makes.
fn tracer_first(tracer: Tracer) -> Result<u64> {
    let tracing = tracer.attach()?;
    let gate = Gate::load(&[])?;
    decides(&gate)?;
    let seen = tracing.calls()?;
    gate.remove()?;
    ensure_all(&load::run(&format!("--count {COUNT}"))?, "ok", COUNT)?;
    let without = tracing.calls()? - seen;
    println!("{tracer:?}: {seen} calls with the gate, {without} without");
    ensure!(without > COUNT, "it saw {without} calls without the gate");
    let launch = without - COUNT;
    ensure!(seen == calls(launch), "it saw {seen} calls, not {}", calls(launch));
    tracing.detach()?;
    Ok(launch)
}

fn gate_first(tracer: Tracer, launch: u64) -> Result<()> {
    let gate = Gate::load(&[])?;
    let tracing = tracer.attach()?;
    decides(&gate)?;
    let seen = tracing.calls()?;
    ensure!(seen == calls(launch), "it saw {seen} calls, not {}", calls(launch));
    tracing.detach()?;
    decides(&gate)?;
    gate.remove()
}

/// Each answer takes effect, and the gate's count of admitted requests equals the firmware's.
fn decides(gate: &Gate) -> Result<()> {
    let mut expected = gate.counts()?;
    let answers = [(Answer::Admit, "ok"), (Answer::Deny, "fw:0x16"), (Answer::Busy, "busy")];
    for (answer, outcome) in answers {
        let before = Firmware::read()?.guest_requests;
        let answering = FixedAnswer::with(answer)?;
        let seen = load::run(&format!("--count {COUNT} --busy-give-up-ms 0"))?;
        drop(answering);
        ensure_all(&seen, outcome, COUNT)?;
        let reached = Firmware::read()?.guest_requests - before;
        let due = if matches!(answer, Answer::Admit) { COUNT } else { 0 };
        ensure!(reached == due, "{answer:?}: {reached} requests reached the firmware, not {due}");
        let count = match answer {
            Answer::Admit => &mut expected.admitted,
            Answer::Deny => &mut expected.denied,
            Answer::Busy => &mut expected.busy,
        };
        *count += COUNT;
    }
    let counts: GateCounts = gate.counts()?;
    ensure!(counts == expected, "{counts:?}, not {expected:?}");
    Ok(())
}
