//! # What an agent shows of the order, and sets

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{end, load_gate};
use crate::{
    agent::{Agent, cli, json},
    gate::{Gate, waiters},
    host::wait_until,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(agent SHOWN: "order/shown" = shown,
    "psp and metrics show who waits in the order, and for which VM");
scenario!(agent CONFIGURED: "order/configured" = configured,
    "the configuration switches the order off and on, and an operator may change it");

const VMS: [&str; 4] = ["a", "b", "c", "d"];
/// Longer than it takes an agent to look at the gate and its configuration again: a second.
const A_WHILE: Duration = Duration::from_secs(2);

/// The order of `guestreq psp`, which names each waiting VM and who is before it.
fn ensure_named(psp: &Value) -> Result<()> {
    let order = &psp["order"];
    ensure!(psp["order_error"].is_null() && order["waiters_error"].is_null(), "{psp}");
    ensure!(order["depth"] == 1, "{order}");
    let waiters = order["waiters"].as_array().context("no list")?;
    for (at, waiter) in waiters.iter().enumerate() {
        let is_known = waiter["vm"].as_str().is_some_and(|vm| VMS.contains(&vm));
        ensure!(is_known && waiter["weight"] == 1, "{waiter}");
        match at {
            0 => ensure!(waiter["reason"] == "slot", "{waiter}"),
            _ => ensure!(
                waiter["reason"] == "turn" && waiter["behind"] == waiters[at - 1]["vm"],
                "{order}"
            ),
        }
    }
    Ok(())
}

fn shown(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let mut agent = Agent::with_config("mode = \"observe\"\n")?;
    let push = |name| load::start(&format!("--vmm qemu --name {name} --seconds 3600"));
    let loads = VMS.into_iter().map(push).collect::<Result<Vec<_>>>()?;
    wait_until("all push", Duration::from_secs(60), || Ok(waiters()?.len() == VMS.len() - 1))?;
    // The list is read a moment after the counts, so it may be shorter once.
    let mut listed = 0;
    for _ in 0..20 {
        let psp = json("psp")?;
        ensure_named(&psp)?;
        listed = listed.max(psp["order"]["waiters"].as_array().map_or(0, Vec::len));
    }
    ensure!(listed == VMS.len() - 1, "at most {listed} were listed");
    let text = cli(&["psp"])?;
    println!("{text}");
    ensure!(text.contains("of 1 slots in use") && text.contains("behind "), "{text}");
    let metrics = agent.wait_until("requests wait", |metrics| {
        metrics.sum("guestreq_order_waiting_requests", &[]) > 0.0
    })?;
    let order = gate.order()?;
    let requests = [("class", "request")];
    for (metric, labels, at_most) in [
        ("guestreq_order_requests_total", &[][..], order.of("grants")? as f64),
        ("guestreq_order_wait_seconds_total", &[], order.of("wait_ns")? as f64 / 1e9),
        ("guestreq_order_psp_seconds_total", &requests, order.of("request_ns")? as f64 / 1e9),
    ] {
        let shown = metrics.sum(metric, labels);
        ensure!(shown > 0.0 && shown <= at_most, "{metric}: {shown} of {at_most}");
    }
    for load in loads {
        load.stop()?;
    }
    drop(agent);
    end(gate)
}

fn wait_until_depth(gate: &Gate, depth: &str) -> Result<()> {
    wait_until(&format!("depth is {depth}"), Duration::from_secs(20), || {
        Ok(gate.get("depth")? == depth)
    })
}

fn configured(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let agent = Agent::with_config("mode = \"observe\"\norder = \"off\"\n")?;
    wait_until_depth(&gate, "0")?;
    gate.set("depth", "2")?;
    sleep(A_WHILE);
    ensure!(gate.get("depth")? == "2", "the operator's setting did not stay");
    gate.remove()?;
    let gate = Gate::load(&[])?;
    wait_until_depth(&gate, "0")?;
    // A reload, and a key that is removed.
    let config = "/tmp/guestreq.toml";
    std::fs::write(config, "mode = \"observe\"\norder = \"on\"\n").context(config)?;
    wait_until_depth(&gate, "1")?;
    std::fs::write(config, "mode = \"observe\"\n").context(config)?;
    sleep(A_WHILE);
    ensure!(gate.get("depth")? == "1", "without the key it changed");
    drop(agent);
    end(gate)
}
