//! # Others trace what the gate hooks
//!
//! Debuggers, profilers and security agents attach to any function. Whoever comes first, the gate
//! decides as ever, they see the calls, and both can go. A warning of the kernel's fails the boot.

use anyhow::{Context as _, Result, ensure};

use super::gate::ensure_all;
use crate::{
    answer::{Answer, Answering},
    gate::{Counts, Gate},
    host::Firmware,
    load,
    scenario::{Context, Outcome, Scenario},
    tracers::{self, Tracer},
};

pub const TRACED: Scenario = Scenario {
    name: "the_gate_and_all_that_traces_its_function_leave_each_other_alone",
    check: traced,
};

/// How many requests of each kind.
const COUNT: u64 = 5;

fn traced(_: &Context) -> Result<Outcome> {
    for tracer in tracers::ALL {
        tracer_first(tracer).with_context(|| format!("{tracer:?} before the gate"))?;
        gate_first(tracer).with_context(|| format!("{tracer:?} after the gate"))?;
    }
    Ok(Outcome::Kept)
}

fn tracer_first(tracer: Tracer) -> Result<()> {
    let tracing = tracer.attach()?;
    let gate = Gate::load(&[])?;
    let sent = decides(&gate)?;
    let seen = tracing.calls()?;
    ensure!(seen >= sent, "it saw {seen} calls of {sent}");
    gate.remove()?;
    ensure_all(&load::run(&format!("--count {COUNT}"))?, "ok", COUNT)?;
    let then = tracing.calls()?;
    ensure!(then >= seen + COUNT, "it saw {seen} calls with the gate, and {then} after it");
    println!(
        "{tracer:?}: {sent} requests, {seen} calls; without the gate {COUNT}, {}",
        then - seen
    );
    tracing.detach()
}

fn gate_first(tracer: Tracer) -> Result<()> {
    let gate = Gate::load(&[])?;
    let tracing = tracer.attach()?;
    let sent = decides(&gate)?;
    let seen = tracing.calls()?;
    ensure!(seen >= sent, "it saw {seen} calls of {sent}");
    tracing.detach()?;
    decides(&gate)?;
    gate.remove()
}

/// Each answer holds, and what the gate counts as admitted is what the firmware got. How many
/// requests that took.
fn decides(gate: &Gate) -> Result<u64> {
    let mut expected = gate.counts()?;
    for (answer, outcome) in
        [(Answer::Admit, "ok"), (Answer::Deny, "fw:0x16"), (Answer::Busy, "busy")]
    {
        let before = Firmware::read()?.guest_requests;
        let answering = Answering::with(answer)?;
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
    let counts: Counts = gate.counts()?;
    ensure!(counts == expected, "{counts:?}, not {expected:?}");
    Ok(3 * COUNT)
}
