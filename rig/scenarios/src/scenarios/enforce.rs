//! # What the gate enforces

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::{self, Agent, cli},
    attacker,
    exposition::Metrics,
    gate::Gate,
    host::Firmware,
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const DENIED_AND_BUSY: Scenario = Scenario {
    name: "a_disallowed_type_reads_invalid_param_and_one_over_the_limit_busy",
    check: denied_and_busy,
};
pub const AUDIT: Scenario =
    Scenario { name: "audit_counts_what_enforce_would_do_and_lets_it_pass", check: audit };
pub const ADMITTED_RATE: Scenario = Scenario {
    name: "the_admitted_rate_is_the_configured_one_however_hard_vms_push",
    check: admitted_rate,
};
pub const FIRST_REQUEST: Scenario = Scenario {
    name: "the_first_request_after_limit_set_is_decided_by_the_new_limit",
    check: first_request,
};
pub const FAIRNESS: Scenario = Scenario {
    name: "a_well_behaved_vm_is_not_slowed_by_hammering_ones_that_are_limited",
    check: fairness,
};
pub const RACE: Scenario =
    Scenario { name: "the_verdict_is_on_the_message_that_the_psp_would_read", check: race };
pub const ATTACKER: Scenario =
    Scenario { name: "a_process_that_asks_the_gate_s_question_learns_nothing", check: attack };

/// Every type that Linux guests do not use is disallowed by default.
const DISALLOWED: &str = "export,import,absorb,vmrk,absorb_noma,cpuid,26,200";

/// An enforcing agent behind a gate.
pub fn enforcing(lines: &str) -> Result<(Gate, Agent)> {
    let gate = Gate::load(&[])?;
    let agent = Agent::with_config(&format!("mode = \"enforce\"\n{lines}"))?;
    Ok((gate, agent))
}

/// What reached the firmware of types that are not allowed.
pub fn disallowed_that_reached(firmware: &Firmware) -> u64 {
    let allowed = |kind: u8| [3, 5, 17].contains(&kind);
    let reached = firmware.messages.iter().filter(|((kind, _), _)| !allowed(*kind));
    reached.map(|(_, count)| count).sum()
}

/// A VM's requests with this result.
pub fn results(metrics: &Metrics, result: &str) -> u64 {
    metrics.sum("guestreq_messages_total", &[("result", result)]) as u64
}

fn denied_and_busy(_: &Context) -> Result<Outcome> {
    let (gate, agent) = enforcing("limit = { rate = \"20/s\", burst = 5 }\n")?;
    let before = Firmware::read()?;
    let seen = load::run(&format!(
        "--vmm qemu --name hostile --type {DISALLOWED} --count 40 --vmpck all"
    ))?;
    let firmware = Firmware::read()?.since(&before);
    ensure!(firmware.guest_requests == 0, "reached the PSP: {:?}", firmware.messages);
    for (kind, outcomes) in &seen.outcomes {
        ensure!(outcomes.len() == 1 && outcomes["fw:0x16"] == 5, "type {kind}: {outcomes:?}");
    }
    let metrics = agent.scrape()?;
    ensure!(results(&metrics, "denied") == 40, "{} denied", results(&metrics, "denied"));
    let decided = [("vm", "hostile"), ("decision", "deny"), ("mode", "enforce")];
    let decided = metrics.sum("guestreq_decisions_total", &decided);
    ensure!(decided == 40.0, "{decided} decisions");

    let before = Firmware::read()?;
    let seen = load::run("--vmm qemu --name eager --count 30 --vcpus 4 --vmpck all")?;
    let firmware = Firmware::read()?.since(&before);
    // Each was sent again until it was let through.
    ensure!(seen.outcomes["5"]["ok"] == 120, "{:?}", seen.outcomes);
    ensure!(firmware.guest_requests == 120, "{}", firmware.guest_requests);
    let busy = seen.per_vm[0].busy;
    let counted = results(&agent.scrape()?, "busy");
    ensure!(busy > 0 && counted == busy, "the guest read BUSY {busy} times, counted {counted}");
    let counts = gate.counts()?;
    ensure!(counts.denied == 40 && counts.busy == busy && counts.unanswered == 0, "{counts:?}");
    ensure!(counts.admitted == 120, "{counts:?}");
    let (status, why) = agent::get("/readyz")?;
    ensure!(status == 200, "{why}");
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn audit(_: &Context) -> Result<Outcome> {
    let gate = Gate::load(&[])?;
    let line = "limit = { rate = \"10/s\", burst = 2 }\n";
    for (how, loaded) in [("at the gate", true), ("at the PSP", false)] {
        if !loaded {
            host_rmmod(&gate)?;
        }
        let agent = Agent::with_config(&format!("mode = \"audit\"\n{line}"))?;
        let before = Firmware::read()?;
        let seen = load::run("--vmm qemu --name audited --type report,export --count 40")?;
        ensure!(!seen.outcomes.values().any(|of| of.contains_key("fw:0x16") && of.len() > 1));
        let firmware = Firmware::read()?.since(&before);
        ensure!(firmware.guest_requests == 40, "{how}: {} of 40", firmware.guest_requests);
        let metrics = agent.scrape()?;
        let decided = |message: &str, decision: &str| {
            let labels = [("message", message), ("decision", decision), ("mode", "audit")];
            metrics.sum("guestreq_decisions_total", &labels)
        };
        ensure!(decided("export", "deny") == 20.0, "{how}: {}", decided("export", "deny"));
        ensure!(decided("report", "busy") > 0.0, "{how}: none would have been BUSY");
        let all = decided("report", "admit") + decided("report", "busy");
        ensure!(all == 20.0, "{how}: {all} reports decided");
        ensure!(results(&metrics, "denied") + results(&metrics, "busy") == 0, "{how}: refused");
        agent.stop()?;
    }
    std::mem::forget(gate);
    Ok(Outcome::Kept)
}

fn host_rmmod(gate: &Gate) -> Result<()> {
    let _ = gate.counts()?;
    crate::host::rmmod("guestreq_gate")
}

fn admitted_rate(context: &Context) -> Result<Outcome> {
    const VMS: u64 = 16;
    const RATE: u64 = 10;
    const BURST: u64 = 4;
    let seconds = if context.long { 120 } else { 30 };
    let limit = format!("limit = {{ rate = \"{RATE}/s\", burst = {BURST} }}\n");
    let (gate, agent) = enforcing(&limit)?;
    let before = Firmware::read()?;
    let push = format!(
        "--vms {VMS} --processes --name push --vcpus 1 --start-together --seconds {seconds} \
         --busy-retry-ms 5 --busy-give-up-ms 600000"
    );
    let seen = load::run(&push)?;
    let firmware = Firmware::read()?.since(&before);
    let expected = VMS * (RATE * seconds + BURST);
    let admitted = firmware.guest_requests;
    let ratio = admitted as f64 / expected as f64;
    let least = seen.per_vm.iter().map(|vm| vm.requests).min().unwrap_or(0);
    println!("admitted {admitted}, configured {expected}: {ratio:.4}; least of a VM {least}");
    // A VM begins a little after the others, and the last request may come after the end.
    ensure!((0.99..=1.01).contains(&ratio), "admitted {admitted}, configured {expected}");
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn first_request(_: &Context) -> Result<Outcome> {
    let (gate, agent) = enforcing("")?;
    let mut load = load::start("--vmm qemu --name steady --count 4000 --rate 200")?;
    thread::sleep(Duration::from_secs(2));
    for round in 0..10 {
        // One an hour, of which the first is let through at once: then nothing.
        cli(&["limit", "set", "--vm", "steady", "--rate", "1/h", "--burst", "1", "--force"])?;
        let before = Firmware::read()?;
        thread::sleep(Duration::from_millis(300));
        let passed = Firmware::read()?.since(&before).guest_requests;
        ensure!(passed <= 1, "round {round}: {passed} passed by the old limit");
        cli(&["limit", "set", "--vm", "steady", "--off"])?;
        let before = Firmware::read()?;
        thread::sleep(Duration::from_millis(300));
        let passed = Firmware::read()?.since(&before).guest_requests;
        ensure!(passed > 3, "round {round}: {passed} passed though the limit is off");
    }
    ensure!(load.is_running()?, "the load has ended too early");
    agent::signal(load.pid(), libc::SIGTERM)?;
    load.end()?;
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

/// VMs that ask as fast as they can, looking again ten times as often as Linux guests do.
const HAMMERING: u32 = 14;

/// p50 and p99 of a VM that asks ten times a second.
fn meek(count: u32) -> Result<[Duration; 2]> {
    let seen = load::run(&format!("--vmm qemu --name meek --rate 10 --count {count}"))?;
    let vm = seen.per_vm.first().context("no VM")?;
    Ok([vm.p50, vm.p99])
}

/// The same beside hammering ones.
fn beside(count: u32) -> Result<[Duration; 2]> {
    let hammers = load::start(&format!(
        "--vms {HAMMERING} --processes --name hammer --vcpus 4 --vmpck all --seconds 100 \
         --busy-retry-ms 200 --busy-give-up-ms 600000"
    ))?;
    thread::sleep(Duration::from_secs(4));
    let seen = meek(count);
    agent::signal(hammers.pid(), libc::SIGTERM)?;
    hammers.end()?;
    seen
}

fn fairness(_: &Context) -> Result<Outcome> {
    Firmware::set("latency_us", 10_000)?;
    let (gate, agent) = enforcing("")?;
    let (alone, unlimited) = (meek(100)?, beside(20)?);
    let labels = [("stage", "psp_service"), ("message", "report")];
    let metrics = agent.scrape()?;
    let service = metrics.sum("guestreq_stage_duration_seconds_sum", &labels)
        / metrics.sum("guestreq_stage_duration_seconds_count", &labels);
    // A quarter of what the PSP can do, together.
    let rate = format!("{:.2}/s", 1.0 / service / 4.0 / f64::from(HAMMERING));
    cli(&["limit", "set", "--default", "--rate", &rate, "--burst", "1"])?;
    cli(&["limit", "set", "--vm", "meek", "--off"])?;
    let times = |than: [Duration; 2], p99: Duration| p99.as_secs_f64() / than[1].as_secs_f64();
    let limited = beside(150)?;
    Firmware::reset()?;
    cli(&["limit", "clear", "--default"])?;
    cli(&["limit", "clear", "--vm", "meek"])?;
    println!(
        "p50 and p99 of a well-behaved VM: alone {alone:.1?}, beside {HAMMERING} hammering ones \
         {unlimited:.1?} (p99 {:.1}x), those limited to {rate} each {limited:.1?} (p99 {:.2}x); \
         the PSP takes {:.1} ms",
        times(alone, unlimited[1]),
        times(alone, limited[1]),
        service * 1e3
    );
    // Its p99 is not held to 3x: where several limited VMs' times come together, it waits for each
    // once. That is printed; what a limiter that does not work would miss by far is asserted.
    ensure!(limited[0].as_secs_f64() < 1.5 * alone[0].as_secs_f64(), "p50 {limited:.1?}");
    ensure!(limited[1].as_secs_f64() < 0.7 * unlimited[1].as_secs_f64(), "p99 {limited:.1?}");
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn race(context: &Context) -> Result<Outcome> {
    let (gate, agent) = enforcing("")?;
    let before = Firmware::read()?;
    let count = if context.long { 20_000 } else { 800 };
    let seen =
        load::run(&format!("--vmm qemu --name racing --race report:export --count {count}"))?;
    let firmware = Firmware::read()?.since(&before);
    let reached = disallowed_that_reached(&firmware);
    ensure!(reached == 0, "{reached} exports reached the PSP");
    let outcomes = &seen.outcomes["raced"];
    let (ok, refused) = (outcomes.get("ok").copied(), outcomes.get("fw:0x16").copied());
    println!("raced: {ok:?} were read as reports, {refused:?} as exports");
    ensure!(ok.is_some() && refused.is_some(), "no race took place: {outcomes:?}");
    ensure!(ok == Some(firmware.guest_requests), "{ok:?}, {}", firmware.guest_requests);
    ensure!(refused == Some(results(&agent.scrape()?, "denied")), "{refused:?} refused");
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn attack(_: &Context) -> Result<Outcome> {
    let before = attacker::transcript()?;
    let (gate, agent) = enforcing("")?;
    load::run("--vmm qemu --name victim --count 5")?;
    let (counts, metrics) = (gate.counts()?, agent.scrape()?);
    let during = attacker::transcript()?;
    ensure!(before == during, "an attacker sees that guestreq is here:\n{before}\n---\n{during}");
    ensure!(gate.counts()? == counts, "an attacker moved the gate's counters");
    let after = agent.scrape()?;
    for name in
        ["guestreq_messages_total", "guestreq_decisions_total", "guestreq_events_lost_total"]
    {
        ensure!(after.sum(name, &[]) == metrics.sum(name, &[]), "an attacker moved {name}");
    }
    println!("{} answers, the same without and with guestreq", before.lines().count());
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Outcome::Kept)
}
