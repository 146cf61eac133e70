//! # Without a gate: vCPUs are held, or stopped

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent::{self, Agent, cli},
    host::Firmware,
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const HELD: Scenario = Scenario {
    name: "a_vcpu_over_its_limit_is_held_out_of_its_guest_and_its_vmm_runs_on",
    check: held,
};
pub const STOPPED: Scenario =
    Scenario { name: "a_vcpu_that_sent_a_disallowed_type_does_not_run_on", check: stopped };
pub const COMPAT: Scenario =
    Scenario { name: "a_32_bit_vmm_s_vcpus_are_held_and_stopped_as_well", check: compat };
pub const STRANGER: Scenario = Scenario {
    name: "a_vmm_that_is_not_known_never_gets_a_signal_and_what_passes_is_told",
    check: stranger,
};

const VMMS: [&str; 3] = ["qemu", "cloud-hypervisor", "firecracker"];

fn holding(lines: &str) -> Result<Agent> {
    Agent::with_config(&format!("mode = \"enforce\"\nbackend = \"vcpu\"\n{lines}"))
}

/// Nothing enforces any more: the promise was kept.
fn end(agent: Agent) -> Result<Outcome> {
    drop(agent);
    cli(&["detach"])?;
    Ok(Outcome::Kept)
}

fn held(_: &Context) -> Result<Outcome> {
    const RATE: f64 = 5.0;
    let agent = holding("limit = { rate = \"5/s\", burst = 2 }\n")?;
    // The kick is what differs.
    for (vmm, vcpus) in VMMS.into_iter().zip([2u64, 1, 1]) {
        let before = Firmware::read()?;
        let start = Instant::now();
        let load = format!("--vmm {vmm} --name {vmm}-{vcpus} --vcpus {vcpus} --seconds 5");
        let seen = load::run(&load)?;
        let seconds = start.elapsed().as_secs_f64();
        let passed = Firmware::read()?.since(&before).guest_requests;
        // The burst, and of each vCPU the one that was too much.
        let most = RATE * seconds + 2.0 + vcpus as f64;
        println!(
            "{vmm}, {vcpus} vCPUs: {passed} requests in {seconds:.1} s at 5/s, held {:?}, \
             {} KVM_RUNs refused, {:?} of CPU time",
            seen.held, seen.reruns, seen.cpu
        );
        ensure!(passed as f64 <= most, "{vmm}: {passed} passed, at most {most:.1}");
        ensure!(passed as f64 >= RATE * 5.0 * 0.7, "{vmm}: {passed} passed, starved");
        ensure!(seen.held > Duration::from_secs(1), "{vmm}: not held");
        ensure!(!seen.outcomes["5"].contains_key("busy"), "{vmm}: {:?}", seen.outcomes);
        ensure!(seen.outcomes["5"].len() == 1, "{vmm}: {:?}", seen.outcomes);
        let longest = seen.per_vm.iter().map(|vm| vm.max).max().unwrap_or_default();
        ensure!(longest < Duration::from_secs(3), "{vmm}: {longest:?} at a stretch");
    }
    let (status, why) = agent::get("/readyz")?;
    ensure!(status == 200, "{why}");
    end(agent)
}

fn stopped(_: &Context) -> Result<Outcome> {
    let agent = holding("")?;
    for vmm in VMMS {
        let before = Firmware::read()?;
        let load =
            format!("--vmm {vmm} --name {vmm} --vcpus 4 --vmpck all --type export --count 50");
        let seen = load::run(&load)?;
        let reached = disallowed_that_reached(&Firmware::read()?.since(&before));
        ensure!((1..=4).contains(&reached), "{vmm}: {reached} exports of 4 vCPUs reached the PSP");
        let outcomes = &seen.outcomes["7"];
        println!("{vmm}: {reached} of 200 exports reached the PSP: {outcomes:?}");
        ensure!(outcomes.get("errno:1") == Some(&4), "{vmm}: not all are stopped: {outcomes:?}");
    }
    // Another VM is none the worse.
    let seen = load::run("--vmm qemu --name honest --count 20")?;
    ensure!(seen.outcomes["5"]["ok"] == 20, "{:?}", seen.outcomes);
    let bypassed = agent.scrape()?.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} passed");
    end(agent)
}

fn compat(_: &Context) -> Result<Outcome> {
    let agent = holding("limit = { rate = \"5/s\", burst = 1 }\n")?;
    let before = Firmware::read()?;
    let seen = load::run("--vmm qemu --name old --compat --seconds 5")?;
    let passed = Firmware::read()?.since(&before).guest_requests;
    ensure!(passed <= 5 * 6 + 2, "{passed} passed in 5 s at 5/s");
    ensure!(seen.held > Duration::from_secs(1), "not held: {:?}", seen.held);
    let seen = load::run("--vmm qemu --name older --compat --type export --count 10")?;
    ensure!(seen.outcomes["7"].get("errno:1") == Some(&1), "not stopped: {:?}", seen.outcomes);
    end(agent)
}

fn stranger(_: &Context) -> Result<Outcome> {
    let agent = holding("limit = { rate = \"5/s\", burst = 1 }\n")?;
    // It handles no signal: one would kill it.
    let seen = load::run("--processes --name stranger --type report,export --count 20")?;
    ensure!(seen.requests > 0, "the stranger did not get far");
    let metrics = agent.scrape()?;
    let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed > 0.0, "what passed is not told");
    let (status, why) = agent::get("/readyz")?;
    ensure!(status == 503 && why.contains("bypassed enforcement"), "{status} {why}");
    println!("{bypassed} told; /readyz: {}", why.trim());
    end(agent)
}
