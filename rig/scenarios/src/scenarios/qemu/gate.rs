//! # QEMU's guests at the gate: what they read, and that QEMU does not notice

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};

use super::{INTERVAL, KEY, REPORT, count};
use crate::{
    agent::cli,
    enforcing::Enforcing,
    fixed_answer::{Answer, FixedAnswer},
    flash::Script,
    gate::Gate,
    host::Firmware,
    qemu::Qemu,
    scenario::{Context, Status, scenario},
};

scenario!(DENIED: "qemu/gate_denied" = denied,
    "a type that is denied at the gate is INVALID_PARAM in QEMU's guest, until it is allowed");
scenario!(night CHANGED: "qemu/gate_changed" = changed,
    "a guest of QEMU reads each change of its policy: a rate, a share, a denied type, and none of them");
scenario!(LIMITED: "qemu/gate_limited" = limited,
    "QEMU's guest reads BUSY over its limit, and repeats as Linux does");

fn denied(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let mut vm = Qemu::start("stubborn", &Script::reports(INTERVAL))?;
    let script = Script::reports(INTERVAL).requests(&[(REPORT, 0), (KEY, 1)]).like_linux();
    let mut linux = Qemu::start("linux", &script)?;
    vm.wait_for_answers(2)?;
    linux.wait_for_answers(4)?;
    for name in ["stubborn", "linux"] {
        cli(&["policy", "deny", "report", "--vm", name, "--yes"])?;
    }
    let before = Firmware::read()?;
    vm.wait_for("been denied", |letters| letters.ends_with("IIII"))?;
    // Linux wipes the VMPCK, and continues with the other.
    let wiped = linux.wait_for("wiped a VMPCK", |letters| letters.contains('W'))?;
    ensure!(wiped.contains("IW"), "{wiped}");
    linux.wait_for_answers(3)?;
    let reports = Firmware::read()?.since(&before).messages.get(&(REPORT, 0)).copied();
    ensure!(reports.is_none(), "{reports:?} reports reached the PSP");
    let letters = linux.letters()?;
    ensure!(letters.matches('I').count() == 1 && letters.matches('W').count() == 1, "{letters}");
    let lost = agent.scrape()?.sum("guestreq_vmpcks_lost_total", &[("vm", "linux")]);
    ensure!(lost == 1.0, "the guest wiped one VMPCK, {lost} are inferred");

    cli(&["policy", "allow", "report", "--vm", "stubborn"])?;
    vm.wait_for_answers(3)?;
    for vm in [&mut vm, &mut linux] {
        let status = vm.status()?;
        ensure!(status == "running", "{} is {status}", vm.name);
        // Between an answer and its letter it may have stopped.
        vm.execute("stop")?;
        let (counted, read) = (count(&agent, &vm.name, "denied")?, vm.count('I')?);
        ensure!(counted - read <= 1, "{}: {counted} denied, its guest read {read}", vm.name);
    }
    Enforcing { agent, gate }.end()
}

/// A guest's answers under one policy after another.
fn changed(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    // Requests at this interval take two fifths of the PSP's time.
    Firmware::set("latency_us", 20_000)?;
    let before = Firmware::read()?;
    let mut vm = Qemu::start("changed", &Script::reports(INTERVAL / 2))?;
    let mut seen = 0;
    let mut under = |policy: &str, vm: &mut Qemu, so: &dyn Fn(&str) -> bool| -> Result<()> {
        // What was on its way still had the old policy.
        let begin = vm.letters()?.len() + 2;
        let letters = vm.wait_for(policy, |letters| letters.get(begin..).is_some_and(so))?;
        println!("{policy}: {}", &letters[seen..]);
        seen = letters.len();
        Ok(())
    };
    let is_limited = |letters: &str| letters.contains("B.") && letters.contains(".B");
    under("no limit", &mut vm, &|letters| {
        letters.len() >= 20 && !letters.contains(|it| it != '.')
    })?;
    cli(&["limit", "set", "--vm", "changed", "--rate", "2/s", "--burst", "4"])?;
    under("a rate of 2/s", &mut vm, &is_limited)?;
    cli(&["limit", "set", "--vm", "changed", "--share", "10%"])?;
    // Five requests a second, and ten at once: more in a row than at the rate.
    let is_shared = |letters: &str| is_limited(letters) && letters.contains("......");
    under("a share of 10 %", &mut vm, &is_shared)?;
    cli(&["policy", "deny", "report", "--vm", "changed", "--yes"])?;
    under("denied", &mut vm, &|letters| letters.ends_with("IIIIIIII"))?;
    cli(&["policy", "clear", "--vm", "changed"])?;
    cli(&["limit", "set", "--vm", "changed", "--off"])?;
    under("no limit again", &mut vm, &|letters| letters.ends_with(&".".repeat(20)))?;
    vm.execute("stop")?;
    for (result, letter) in [("ok", '.'), ("busy", 'B'), ("denied", 'I')] {
        let (counted, read) = (count(&agent, "changed", result)?, vm.count(letter)?);
        // Between an answer and its letter it may have stopped.
        ensure!(counted.abs_diff(read) <= 1, "{counted} {result}, its guest read {read}");
    }
    let (reached, ok) =
        (Firmware::read()?.since(&before).guest_requests, count(&agent, "changed", "ok")?);
    ensure!(reached == ok, "{reached} reached the PSP, {ok} are counted");
    Firmware::reset()?;
    Enforcing { agent, gate }.end()
}

scenario!(long LONG: "qemu/gate_limited_long" = limited_long,
    "a guest with Linux' own times is admitted after 30 s, and without guestreq wipes its VMPCK after 60 s");

/// A guest that has read BUSY this often, 2 s apart.
const BUSY_FOR_20_S: usize = 10;

fn limited_long(_: &Context) -> Result<Status> {
    let limit = "limit = { rate = \"1/h\", burst = 1, force = true }\n";
    let enforcing = Enforcing::start(limit)?;
    let script = Script::reports(INTERVAL).like_linux();
    let mut vm = Qemu::start("rescued", &script)?;
    let is_busy = |letters: &str| letters.matches('B').count() >= BUSY_FOR_20_S;
    vm.wait_for("been BUSY for 20 s", is_busy)?;
    let letters = vm.wait_for("been admitted", |letters| letters.contains("B."))?;
    // The first one is the burst.
    let (_, busy) = letters.split_once('.').unwrap_or_default();
    let busy = busy.split('.').next().map_or(0, str::len);
    println!("rescued after {busy} times BUSY: {letters}");
    ensure!((14..=17).contains(&busy), "not 30 s at 2 s each: {letters}");
    drop(vm);
    enforcing.end()?;

    // A program that is not ours refuses for ever.
    let gate = Gate::load(&[])?;
    let answers = FixedAnswer::with(Answer::Busy)?;
    let mut vm = Qemu::start("wipes", &script)?;
    vm.wait_for("been BUSY for 20 s", is_busy)?;
    let letters = vm.wait_for("wiped its VMPCK", |letters| letters.contains('W'))?;
    let busy = letters.matches('B').count();
    println!("wiped after {busy} times BUSY");
    ensure!((29..=32).contains(&busy) && letters.ends_with("BW"), "{letters}");
    sleep(INTERVAL * 5);
    ensure!(vm.letters()? == letters, "a VMPCK is used after it was wiped");
    drop((vm, answers));
    gate.remove()?;
    Ok(Status::Passed)
}

/// As many as fit into the limit in the beginning.
const BURST: u64 = 4;

fn limited(_: &Context) -> Result<Status> {
    let config = format!("limit = {{ rate = \"2/s\", burst = {BURST} }}\n");
    let Enforcing { agent, gate } = Enforcing::start(&config)?;
    let before = Firmware::read()?;
    let mut patient = Qemu::start("patient", &Script::reports(INTERVAL).like_linux())?;
    // It does not repeat for as long as Linux: a minute is long.
    let script = Script {
        retry: INTERVAL * 2,
        give_up: Duration::from_secs(1),
        ..Script::reports(INTERVAL)
    };
    let mut hasty = Qemu::start("hasty", &script)?;
    hasty.wait_for_answers(1)?;
    cli(&["limit", "set", "--vm", "hasty", "--rate", "1/h", "--burst", "1", "--force"])?;
    let letters = hasty.wait_for("wiped its VMPCK", |letters| letters.contains('W'))?;
    let busy = letters.trim_end_matches('W').rsplit('.').next().map_or(0, str::len);
    // 1 s of retries each 0.2 s, and each takes some time.
    ensure!(letters.ends_with("BW") && (2..=7).contains(&busy), "{letters}");
    let letters =
        patient.wait_for("been BUSY twice", |letters| letters.matches("B.").count() >= 2)?;
    // After 2 s there is room again.
    ensure!(!letters.contains("BB") && !letters.contains('W'), "{letters}");
    let least = ".".repeat(BURST as usize);
    ensure!(letters.starts_with(&least), "the burst is {BURST}: {letters}");

    let after = hasty.letters()?;
    sleep(INTERVAL * 5);
    ensure!(hasty.letters()? == after, "a VMPCK is used after it was wiped");
    let mut answered = 0;
    for vm in [&mut patient, &mut hasty] {
        let status = vm.status()?;
        ensure!(status == "running", "{} is {status}", vm.name);
        vm.execute("stop")?;
        answered += count(&agent, &vm.name, "ok")?;
        let (counted, read) = (count(&agent, &vm.name, "busy")?, vm.count('B')?);
        ensure!(counted - read <= 1, "{}: {counted} busy, its guest read {read}", vm.name);
        println!("{}: {}", vm.name, vm.letters()?);
    }
    let reached = Firmware::read()?.since(&before).guest_requests;
    ensure!(reached == answered, "{reached} reached the PSP, {answered} are counted");
    Enforcing { agent, gate }.end()
}
