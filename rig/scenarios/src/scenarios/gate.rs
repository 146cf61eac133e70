//! # The gate without the agent
//!
//! What the module promises, whichever program answers it, or none.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    attacker,
    fixed_answer::{Answer, FixedAnswer},
    gate::{Gate, GateCounts},
    host::{Firmware, wait_until},
    load::{self, LoadReport},
    scenario::{Context, Status, scenario},
};

scenario!(NOBODY_ANSWERS: "gate/unanswered" = nobody_answers,
    "without an answer an open gate admits, and a closed one denies");
scenario!(ANSWERS: "gate/answers" = answers,
    "the gate follows the answer, and refused requests never reach the PSP");
scenario!(SELF_TEST: "gate/self_test" = self_test,
    "a self-test shows the answer and is not counted");
scenario!(PARAMETERS: "gate/parameters" = parameters,
    "only root reads the gate's secrets, and its counters cannot be set");
scenario!(ATTACKER: "gate/attacker" = attacker,
    "an unprivileged process learns nothing from the gate alone");

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

fn parameters(_: &Context) -> Result<Status> {
    // Read-only parameters cannot be set when loading, either.
    for lie in [
        "protocol=2",
        "protocol_newest=1",
        "file=1",
        "cookie=1",
        "admitted=1",
        "unanswered=9",
        "self_test=1",
        "order=1",
        "depth=-1",
        "launch_share=101",
    ] {
        let loaded = Gate::load(&[lie]);
        ensure!(loaded.is_err(), "loaded with {lie}");
    }
    let gate = Gate::load(&[])?;
    // An agent of protocol 1 reads "protocol" only.
    for (name, value) in [("protocol", "1"), ("protocol_newest", "2"), ("depth", "1")] {
        ensure!(gate.get(name)? == value, "{name} {:?}", gate.get(name)?);
    }
    let version = fs::read_to_string("/sys/module/guestreq_gate/version").context("version")?;
    ensure!(version.trim_end() == "0.1.0", "version {version:?}");
    let file = gate.get("file")?;
    ensure!(file.starts_with("0xffff") && file.len() == 18, "file {file:?}");
    let cookie = gate.get("cookie")?;
    ensure!(cookie.starts_with("0x") && cookie.len() > 12, "cookie {cookie:?}");
    for (name, readable) in [
        ("protocol", true),
        ("protocol_newest", true),
        ("depth", true),
        ("launch_share", true),
        ("order", false),
        ("admitted", false),
        ("denied", false),
        ("busy", false),
        ("unanswered", false),
        ("file", false),
        ("cookie", false),
        ("closed", false),
        ("self_test", false),
    ] {
        let mut cat = Command::new("/bin/cat");
        let output = attacker::nobody(cat.arg(Gate::path(name))).output().context("cat")?;
        ensure!(output.status.success() == readable, "{name} for nobody: {output:?}");
    }
    gate.remove()?;
    let gate = Gate::load(&[])?;
    ensure!(gate.get("cookie")? != cookie, "the same cookie twice");
    Ok(Status::Passed)
}

fn attacker(_: &Context) -> Result<Status> {
    let without = attacker::transcript()?;
    ensure!(without.lines().count() > 100, "the attacker was short: {without}");
    let gate = Gate::load(&[])?;
    let with = attacker::transcript()?;
    ensure!(with == without, "with the gate: {with}");
    ensure!(gate.counts()? == GateCounts::default(), "{:?}", gate.counts()?);
    ensure!(gate.get("self_test")? == "none", "{:?}", gate.get("self_test"));
    Ok(Status::Passed)
}
