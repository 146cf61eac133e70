//! # The gate without the agent
//!
//! What the module promises, whichever program answers it, or none.

mod capabilities;
mod loading;
mod parameters;
mod protocols;
mod tracers;
pub mod unloading;

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    fixed_answer::{Answer, FixedAnswer},
    gate::{Gate, GateCounts},
    host::{Firmware, wait_until},
    load::{self, LoadReport},
    scenario::{Context, Group, Status, scenario},
};

scenario!(NOBODY_ANSWERS: "gate/unanswered" = nobody_answers,
    "without an answer an open gate admits, and a closed one denies");
scenario!(ANSWERS: "gate/answers" = answers,
    "the gate follows the answer, and refused requests never reach the PSP");
scenario!(SELF_TEST: "gate/self_test" = self_test,
    "a self-test shows the answer and is not counted");

pub const GROUP: Group = Group {
    name: "gate",
    memory_mib: 2048,
    scenarios: &[
        NOBODY_ANSWERS,
        ANSWERS,
        SELF_TEST,
        parameters::PARAMETERS,
        parameters::ATTACKER,
        capabilities::CAPABILITIES,
        capabilities::LOADER,
        loading::FTRACE,
        loading::LOADED_TWICE,
        loading::LIVE_PATCH,
        loading::PINS,
        protocols::PROTOCOLS,
        tracers::TRACED,
        unloading::UNDER_LOAD,
        unloading::WHILE_BUSY,
    ],
    once: &[unloading::UNLOAD_FORGED],
    ..Group::DEFAULT
};

/// What guests saw, summed over message types.
pub fn outcomes(seen: &LoadReport) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::new();
    for (outcome, count) in seen.outcomes.values().flatten() {
        *sums.entry(outcome.clone()).or_default() += count;
    }
    sums.into_iter().collect()
}

pub fn ensure_all(seen: &LoadReport, outcome: &str, count: u64) -> Result<()> {
    let outcomes = outcomes(seen);
    ensure!(outcomes == [(outcome.to_owned(), count)], "{outcomes:?}, not {count} {outcome}");
    Ok(())
}

fn nobody_answers(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    ensure!(gate.get("closed")? == "N", "closed by default");
    let before = Firmware::read()?;
    ensure_all(&load::run("--vms 4 --count 5 --type report,key")?, "ok", 20)?;
    ensure!(Firmware::read()?.since(&before).guest_requests == 20, "not all were sent");
    let open = GateCounts { unanswered: 20, ..GateCounts::default() };
    ensure!(gate.counts()? == open, "open: {:?}", gate.counts()?);

    gate.set("closed", "Y")?;
    let before = Firmware::read()?;
    let seen = load::run("--vms 4 --count 5 --type report,key")?;
    ensure_all(&seen, "fw:0x16", 20)?;
    ensure!(Firmware::read()?.since(&before).guest_requests == 0, "the PSP got requests");
    let closed = GateCounts { unanswered: 40, ..open };
    ensure!(gate.counts()? == closed, "closed: {:?}", gate.counts()?);
    gate.remove()?;

    let gate = Gate::load(&["closed=1"])?;
    ensure_all(&load::run("--extended")?, "fw:0x16", 1)?;
    gate.remove()?;
    ensure_all(&load::run("--count 2")?, "ok", 2)?;
    Ok(Status::Passed)
}

fn answers(_: &Context) -> Result<Status> {
    // Closed, to show that answers count.
    let gate = Gate::load(&["closed=1"])?;
    let before = Firmware::read()?;
    let admitting = FixedAnswer::with(Answer::Admit)?;
    ensure_all(&load::run("--vms 2 --count 5 --type report,export")?, "ok", 10)?;
    ensure!(Firmware::read()?.since(&before).guest_requests == 10, "admitted, not all sent");
    drop(admitting);

    let before = Firmware::read()?;
    let denying = FixedAnswer::with(Answer::Deny)?;
    ensure_all(&load::run("--vms 2 --count 5")?, "fw:0x16", 10)?;
    ensure_all(&load::run("--vms 2 --count 5 --extended")?, "fw:0x16", 10)?;
    drop(denying);
    let turning_away = FixedAnswer::with(Answer::Busy)?;
    let mut turned_away = load::start("--vms 2 --count 3")?;
    wait_until("both got BUSY", Duration::from_secs(60), || {
        ensure!(turned_away.is_running()?, "a guest took BUSY for an answer");
        Ok(gate.counts()?.busy >= 6)
    })?;
    let during = Firmware::read()?.since(&before);
    ensure!(during.guest_requests == 0, "{} reached the PSP", during.guest_requests);

    let admitting = FixedAnswer::with(Answer::Admit)?;
    drop(turning_away);
    let seen = turned_away.finish()?;
    let ok = outcomes(&seen).into_iter().find(|(outcome, _)| outcome == "ok");
    ensure!(ok == Some(("ok".into(), 6)), "{:?}", outcomes(&seen));
    ensure!(outcomes(&seen).len() == 2, "{:?}", outcomes(&seen));
    ensure!(Firmware::read()?.since(&before).guest_requests == 6, "not sent once each");
    let counts = gate.counts()?;
    drop(admitting);
    ensure!((counts.admitted, counts.denied, counts.unanswered) == (16, 20, 0), "{counts:?}");
    Ok(Status::Passed)
}

fn self_test(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    ensure!(gate.get("self_test")? == "none", "{:?}", gate.get("self_test"));
    ensure!(gate.self_test(7)? == "7 unanswered", "{:?}", gate.get("self_test"));
    for (answer, word) in [(Answer::Admit, "admit"), (Answer::Deny, "deny"), (Answer::Busy, "busy")]
    {
        let _answering = FixedAnswer::with(answer)?;
        let output = gate.self_test(u64::MAX)?;
        ensure!(output == format!("{} {word}", u64::MAX), "{output:?} with {answer:?}");
    }
    gate.set("self_test", "0x10\n")?;
    for garbage in ["", "0", "-1", "x", "7 8", "7x", "18446744073709551616"] {
        let error = fs::write(Gate::path("self_test"), garbage).err();
        let errno = error.as_ref().and_then(std::io::Error::raw_os_error);
        // An empty string is not written at all.
        let expected = match garbage {
            "" => None,
            "18446744073709551616" => Some(libc::ERANGE),
            _ => Some(libc::EINVAL),
        };
        ensure!(errno == expected, "{garbage:?}: {error:?}");
    }
    ensure!(gate.get("self_test")? == "16 unanswered", "{:?}", gate.get("self_test"));
    ensure!(gate.counts()? == GateCounts::default(), "{:?}", gate.counts()?);
    Ok(Status::Passed)
}
