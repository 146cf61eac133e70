//! # Enforcement by the gate

use anyhow::{Result, ensure};

use super::limits;
use crate::{
    agent::{self, Agent},
    attacker,
    enforcing::Enforcing,
    exposition::Metrics,
    gate::Gate,
    host::{self, Firmware},
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(DENIED_AND_BUSY: "enforce/denied_and_busy" = denied_and_busy,
    "a disallowed message type gets INVALID_PARAM, and a request over the limit BUSY");
scenario!(AUDIT: "enforce/audit" = audit,
    "audit counts what enforce would refuse, and lets it pass");
scenario!(RACE: "enforce/race" = race, "the decision is on the message that the PSP reads");
scenario!(ATTACKER: "enforce/attacker" = attack,
    "a process that sends the gate's ioctl learns nothing while the agent enforces");

pub const GROUP: Group = Group {
    name: "enforce",
    memory_mib: 2048,
    scenarios: &[DENIED_AND_BUSY, limits::FIRST_REQUEST, RACE, ATTACKER],
    once: &[limits::ADMITTED_RATE, limits::FAIRNESS, AUDIT],
    ..Group::DEFAULT
};

/// By default every type that Linux guests do not use is disallowed.
const DISALLOWED: &str = "export,import,absorb,vmrk,absorb_noma,cpuid,26,200";

/// The number of disallowed messages that reached the firmware.
pub fn disallowed_that_reached(firmware: &Firmware) -> u64 {
    let allowed = |kind: u8| [3, 5, 17].contains(&kind);
    let reached = firmware.messages.iter().filter(|((kind, _), _)| !allowed(*kind));
    reached.map(|(_, count)| count).sum()
}

/// Requests with this result.
pub fn results(metrics: &Metrics, result: &str) -> u64 {
    metrics.sum("guestreq_messages_total", &[("result", result)]) as u64
}

fn denied_and_busy(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("limit = { rate = \"20/s\", burst = 5 }\n")?;
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
    // Each was repeated until it was admitted.
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
    Enforcing { agent, gate }.end()
}

fn audit(_: &Context) -> Result<Status> {
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
    Ok(Status::Passed)
}

fn host_rmmod(gate: &Gate) -> Result<()> {
    let _ = gate.counts()?;
    host::rmmod("guestreq_gate")
}

fn race(context: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let before = Firmware::read()?;
    let count = if context.long { 20_000 } else { 400 };
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
    Enforcing { agent, gate }.end()
}

fn attack(_: &Context) -> Result<Status> {
    let before = attacker::transcript()?;
    let Enforcing { agent, gate } = Enforcing::start("")?;
    load::run("--vmm qemu --name victim --count 5")?;
    let (counts, metrics) = (gate.counts()?, agent.scrape()?);
    let during = attacker::transcript()?;
    ensure!(before == during, "an attacker can detect guestreq:\n{before}\n---\n{during}");
    ensure!(gate.counts()? == counts, "an attacker moved the gate's counters");
    let after = agent.scrape()?;
    for name in
        ["guestreq_messages_total", "guestreq_decisions_total", "guestreq_events_lost_total"]
    {
        ensure!(after.sum(name, &[]) == metrics.sum(name, &[]), "an attacker moved {name}");
    }
    println!("{} answers, the same without and with guestreq", before.lines().count());
    Enforcing { agent, gate }.end()
}
