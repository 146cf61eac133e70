//! # Events

use std::{collections::BTreeSet, process::Command, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    agent::{Agent, cli},
    enforcing::Enforcing,
    follower::Follower,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(KINDS: "events/kinds" = kinds,
    "each kind of event is reported with its fields under load");

fn kinds(_: &Context) -> Result<Status> {
    let limited = "limit = { rate = \"20/s\", burst = 5 }\nslow_request = \"300ms\"\n";
    let Enforcing { agent, gate } = Enforcing::start(limited)?;
    let follower = Follower::start(&["-n", "0"])?;
    // Its first event shows that it follows.
    let busy = load::start("--vmm qemu --name busy --rate 5 --seconds 3600")?;
    follower.wait_until("it listens", |events| find(events, "new_vm", "busy").is_some())?;

    load::run("--vmm qemu --name hostile --type export --count 2 --vmpck 1")?;
    // 20 requests conform to the limit only if they take 0.75 s: a slow machine exceeds it, too.
    load::run("--vmm qemu --name eager --burst 20 --pause 2000 --count 40")?;
    load::run("--vmm qemu --name replayer --count 4 --fault replay:2")?;
    load::run("--vmm qemu --name skipper --count 4 --fault gap:2")?;
    load::run("--vmm qemu --name lost --count 2 --fault bad-gpa:2")?;
    cli(&["limit", "set", "--vm", "busy", "--rate", "50/s"])?;
    Firmware::set("latency_us", 500_000)?;
    load::run("--vmm qemu --name patient --count 1")?;
    Firmware::reset()?;

    let wanted = [
        ("denied", "hostile", json!({"message": "export", "vmpck": 1, "decision": "deny"})),
        ("throttled", "eager", json!({"message": "report", "decision": "busy"})),
        ("unthrottled", "eager", json!({"decision": "admit", "mode": "enforce"})),
        ("replay", "replayer", json!({"result": "aead_oflow", "message_type": 5})),
        ("gap", "skipper", json!({"result": "aead_oflow"})),
        ("host_error", "lost", json!({"result": "host_error"})),
        ("slow", "patient", json!({"result": "ok", "ret": 0})),
        ("new_vm", "hostile", json!({"vmm": "qemu"})),
        ("exited_vm", "hostile", json!({})),
    ];
    follower.wait_until("all kinds were reported", |events| {
        wanted.iter().all(|(kind, vm, _)| find(events, kind, vm).is_some())
    })?;
    let events = follower.events()?;
    for (kind, vm, fields) in wanted {
        let event = find(&events, kind, vm).context(kind)?;
        for (name, value) in fields.as_object().context("fields")? {
            ensure!(&event[name] == value, "{name}: {event}");
        }
        ensure!(event["pid"].as_u64().is_some_and(|pid| pid > 1), "{event}");
    }
    let slow = find(&events, "slow", "patient").context("slow")?;
    let service = slow["stage_seconds"]["psp_service"].as_f64().context("psp_service")?;
    ensure!((0.5..10.0).contains(&service), "{slow}");
    let changed = events.iter().find(|event| event["kind"] == "policy_changed");
    let changed = changed.context("no policy_changed")?;
    let [old, new] = ["old", "new"].map(|which| &changed[which]["limit"]["value"]["rate"]);
    ensure!(changed["uid"] == 0 && changed["target"] == json!({"vm": "busy"}), "{changed}");
    ensure!(changed["vm"] == "busy" && changed["pid"].is_u64(), "{changed}");
    ensure!(old == "20/s" && new == "50/s", "{changed}");
    ensure!(events.iter().all(|event| event["kind"] != "request"), "requests without --all");
    past()?;
    restarted(follower, agent)?;
    drop(busy);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Status::Passed)
}

fn find<'a>(events: &'a [Value], kind: &str, vm: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["kind"] == kind && event["vm"] == vm)
}

/// Past events.
fn past() -> Result<()> {
    let ask = |more: &[&str]| {
        let all = ["events", "--no-follow", "--since", "10m"];
        cli(&[&all, more].concat())
    };
    let table = ask(&[])?;
    println!("{table}");
    for kind in ["agent_started", "enforcement", "denied", "policy_changed"] {
        ensure!(table.contains(kind), "no {kind}: {table}");
    }
    let denied = ask(&["--kind", "denied", "--vm", "hostile"])?;
    ensure!(denied.lines().count() == 2, "{denied}");
    ensure!(ask(&["-n", "1"])?.lines().count() == 1);
    ensure!(cli(&["events", "--no-follow", "--since", "@99999999999"])?.is_empty());
    let output = Command::new("/bin/guestreq")
        .args(["events", "--no-follow", "--vm", "hostil"])
        .output()
        .context("guestreq events")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && stderr.contains("no VM \"hostil\" is known yet"),
        "{stderr}"
    );
    println!("{stderr}");
    for (wrong, what) in [("--kind=deny", "policy_changed"), ("--since=soon", "give 10m")] {
        let output = Command::new("/bin/guestreq").args(["events", wrong]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && stderr.contains(what), "{wrong}: {stderr}");
    }
    Ok(())
}

/// The follower survives the agent's restart and gets no event twice.
fn restarted(follower: Follower, agent: Agent) -> Result<()> {
    agent.kill()?;
    let next = Agent::start(&["--config", "/tmp/guestreq.toml"])?;
    let starts =
        |events: &[Value]| events.iter().filter(|event| event["kind"] == "agent_started").count();
    follower.wait_until("the next agent was reported", |events| starts(events) == 1)?;
    load::run("--vmm qemu --name after --type export --count 1")?;
    follower.wait_until("it continues", |events| find(events, "denied", "after").is_some())?;
    let events = follower.events()?;
    let ids: BTreeSet<_> =
        events.iter().map(|event| (event["agent"].to_string(), event["id"].as_u64())).collect();
    ensure!(ids.len() == events.len(), "{} of {} events are others", ids.len(), events.len());
    let lives: BTreeSet<_> = ids.iter().map(|(agent, _)| agent).collect();
    ensure!(lives.len() == 2, "{lives:?}");
    let output = follower.stderr()?;
    ensure!(output.contains("the agent has stopped"), "{output}");
    println!("{output}");
    sleep(Duration::from_millis(100));
    let status = follower.interrupt()?;
    ensure!(status.code() == Some(0), "Ctrl-C: {status}");
    drop(next);
    Ok(())
}
