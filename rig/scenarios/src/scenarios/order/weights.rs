//! # Weights as a policy sets them

use std::{process::Command, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{at_most, end, load_gate};
use crate::{
    agent::{Agent, cli},
    gate::{Gate, waiters},
    host::wait_until,
    load::{self, Load},
    scenario::{Context, Status, scenario},
};

scenario!(night timed POLICY: "order/policy_weights" = policy,
    "VMs that push use the PSP in proportion to the weights of their policies");

/// None of them is due half of the PSP, which no VM can have at depth 1.
const VMS: [(&str, u8); 3] = [("light", 1), ("heavy", 3), ("third", 3)];

const CONFIG: &str = "mode = \"enforce\"\n[[vm]]\nmatch = { name = \"heavy\" }\nweight = 3\n";

fn push() -> Result<Vec<Load>> {
    let push = |(name, _)| load::start(&format!("--vmm qemu --name {name} --seconds 3600"));
    let loads = VMS.into_iter().map(push).collect::<Result<_>>()?;
    wait_until("all push", Duration::from_secs(60), || Ok(waiters()?.len() == VMS.len() - 1))?;
    Ok(loads)
}

/// Each VM that waits does so with its weight.
fn wait_with_their_weights(loads: &[Load]) -> Result<()> {
    let processes = loads.iter().map(Load::processes).collect::<Result<Vec<_>>>()?;
    for _ in 0..50 {
        for waiter in waiters()? {
            let vm = processes.iter().position(|of_vm| of_vm.contains(&waiter.pid));
            let (name, weight) = VMS[vm.context("another VM waits")?];
            ensure!(waiter.weight == u32::from(weight), "{name}: {waiter:?}, not {weight}");
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Until a request waits with that weight: it may have been admitted with another before.
fn wait_until_weight(load: &Load, weight: u32) -> Result<()> {
    let processes = load.processes()?;
    let is_its = |pid| processes.contains(&pid);
    wait_until("its weight is another", Duration::from_secs(20), || {
        Ok(waiters()?.iter().any(|waiter| is_its(waiter.pid) && waiter.weight == weight))
    })
}

/// The PSP's seconds of each VM's requests, and one request's.
fn used(agent: &Agent, seconds: u64) -> Result<([f64; 3], f64)> {
    let read = || -> Result<[(f64, f64); 3]> {
        let metrics = agent.scrape()?;
        Ok(VMS.map(|(vm, _)| {
            let requests = [("vm", vm), ("class", "request")];
            let count = metrics.sum("guestreq_requests_total", &[("vm", vm)]);
            (metrics.sum("guestreq_vm_psp_seconds_total", &requests), count)
        }))
    };
    let before = read()?;
    sleep(Duration::from_secs(seconds));
    let after = read()?;
    let used = [0, 1, 2].map(|vm| after[vm].0 - before[vm].0);
    let count: f64 = [0, 1, 2].map(|vm| after[vm].1 - before[vm].1).iter().sum();
    Ok((used, used.iter().sum::<f64>() / count))
}

fn policy(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let agent = Agent::with_config(CONFIG)?;
    let loads = push()?;
    // By command, beside a share that refuses nothing: so another program decides these requests.
    let set = ["limit", "set", "--vm", "third", "--share", "100%", "--weight", "3"];
    println!("{}", cli(&set)?);
    let shown = cli(&["limit", "show"])?;
    println!("{shown}\n{}", cli(&["policy", "explain", "--vm", "heavy"])?);
    let policies: Value = serde_json::from_str(&cli(&["policy", "show", "-o", "json"])?)?;
    for (vm, weight) in VMS {
        let all = policies["vms"].as_array().context("no VMs")?;
        let of_vm = all.iter().find(|it| it["vm"] == vm).context("an unknown VM")?;
        ensure!(of_vm["weight"]["value"] == weight, "{of_vm}");
    }
    wait_until_weight(&loads[2], 3)?;
    wait_with_their_weights(&loads)?;
    let seconds = if context.long { 20 } else { 4 };
    at_most("services by which weights 1 and 3 are not 1 to 3", 2.0, || {
        let (psp, service) = used(&agent, seconds)?;
        println!("{VMS:?} used {psp:.3?} s of {seconds}, {service:.4} s per request");
        ensure!(psp.iter().sum::<f64>() > 0.8 * seconds as f64, "the PSP was idle");
        Ok((psp[1] / 3.0 - psp[0]).abs() / service)
    })?;
    let metric = [("vm", "heavy")];
    ensure!(agent.scrape()?.sum("guestreq_limit_weight", &metric) == 3.0, "no metric");
    without_order(&gate)?;
    cli(&["limit", "clear", "--vm", "third"])?;
    wait_until_weight(&loads[2], 1)?;
    for load in loads {
        load.stop()?;
    }
    drop(agent);
    cli(&["detach"])?;
    end(gate)
}

/// What has no effect says so.
fn without_order(gate: &Gate) -> Result<()> {
    const OFF: &str = "the gate's order is off (depth=0)";
    let explained = || cli(&["policy", "explain", "--vm", "heavy"]);
    let set = || -> Result<String> {
        let set = ["limit", "set", "--vm", "third", "--weight", "3"];
        let output = Command::new("/bin/guestreq").args(set).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    gate.set("depth", "0")?;
    let (note, warning) = (explained()?, set()?);
    ensure!(note.contains(OFF) && warning.contains(OFF), "{note}\n{warning}");
    gate.set("depth", "1")?;
    let (note, warning) = (explained()?, set()?);
    ensure!(!note.contains("no effect") && warning.is_empty(), "{note}\n{warning}");
    Ok(())
}
