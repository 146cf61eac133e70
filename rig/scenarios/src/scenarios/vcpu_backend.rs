//! # The vcpu backend

use std::{
    fs, io,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent::{self, Agent, cli, find_vm},
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(HELD: "vcpu_backend/held" = held,
    "a vCPU over its limit is held outside its guest, and its VMM keeps running");
scenario!(DENIED: "vcpu_backend/denied" = denied,
    "a vCPU that sent a disallowed type is held until the type is allowed, and then continues");
scenario!(STOPPED: "vcpu_backend/stopped" = stopped,
    "a vCPU that sent a disallowed type never runs again with vcpu_denied = stop");
scenario!(COMPAT: "vcpu_backend/compat" = compat,
    "vCPUs of a 32-bit VMM are held and stopped, too");
scenario!(UNKNOWN_VMM: "vcpu_backend/unknown_vmm" = unknown_vmm,
    "an unknown VMM never gets a signal, and what passes is reported");

const LIMIT: Duration = Duration::from_secs(60);

/// A VMM gives a VM up whose vCPU has sent a disallowed type.
pub const STOP: &str = "vcpu_denied = \"stop\"\n";

const VMMS: [&str; 3] = ["qemu", "cloud-hypervisor", "firecracker"];

pub fn holding(lines: &str) -> Result<Agent> {
    Agent::with_config(&format!("mode = \"enforce\"\nbackend = \"vcpu\"\n{lines}"))
}

/// Where the agent keeps overrides, by default.
const OVERRIDES: &str = "/var/lib/guestreq/overrides.json";

/// Stops enforcement. Overrides of VMs that have ended would have all new VMs wait for their policy.
pub fn end(agent: Agent) -> Result<Status> {
    agent.stop()?;
    cli(&["detach"])?;
    match fs::remove_file(OVERRIDES) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context(OVERRIDES);
        }
        _ => {}
    }
    Ok(Status::Passed)
}

fn held(_: &Context) -> Result<Status> {
    const RATE: f64 = 5.0;
    let agent = holding("limit = { rate = \"5/s\", burst = 2 }\n")?;
    // They differ in their kick signal.
    for (vmm, vcpus) in VMMS.into_iter().zip([2u64, 1, 1]) {
        let before = Firmware::read()?;
        let start = Instant::now();
        let load = format!("--vmm {vmm} --name {vmm}-{vcpus} --vcpus {vcpus} --seconds 5");
        let seen = load::run(&load)?;
        let seconds = start.elapsed().as_secs_f64();
        let passed = Firmware::read()?.since(&before).guest_requests;
        // The burst, and for each vCPU the one request over the limit.
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

/// vCPUs of the two scenarios below; each may send one type until it is held.
const VCPUS: u64 = 4;

/// The label of this VMM's running VM; not all have a name of their own.
fn running(vmm: &str) -> Result<Option<String>> {
    let vm = find_vm(|vm| vm["vmm"] == vmm && vm["running"] == true)?;
    Ok(vm.and_then(|vm| Some(vm["vm"].as_str()?.to_owned())))
}

fn denied(_: &Context) -> Result<Status> {
    let agent = holding("")?;
    for (vmm, release) in VMMS.into_iter().zip(["allow", "audit", "allow"]) {
        let before = Firmware::read()?;
        let reached =
            || Ok::<_, anyhow::Error>(disallowed_that_reached(&Firmware::read()?.since(&before)));
        let load = load::start(&format!(
            "--vmm {vmm} --name {release}-{vmm} --vcpus {VCPUS} --vmpck all --type export --count 50"
        ))?;
        let mut label = None;
        wait_until("all its vCPUs are held", LIMIT, || {
            label = running(vmm)?;
            let Some(vm) = &label else { return Ok(false) };
            let held = agent.scrape()?.sum("guestreq_vcpu_stopped_total", &[("vm", vm)]);
            Ok(held == VCPUS as f64)
        })?;
        let label = label.context("no VM")?;
        // Longer than a limit ever holds one at a time.
        sleep(Duration::from_secs(2));
        ensure!(reached()? == VCPUS, "{vmm}: {} of {VCPUS} vCPUs' exports", reached()?);
        match release {
            "allow" => cli(&["policy", "allow", "export", "--vm", &label])?,
            _ => cli(&["policy", "mode", "audit", "--vm", &label])?,
        };
        let seen = load.finish()?;
        let outcomes = &seen.outcomes["7"];
        ensure!(!outcomes.contains_key("errno:1"), "{vmm}: {outcomes:?}");
        ensure!(reached()? == 50 * VCPUS, "{vmm}: {} of {} exports", reached()?, 50 * VCPUS);
        ensure!(seen.held > Duration::from_secs(2), "{vmm}: held for {:?}", seen.held);
        println!("{vmm}: held for {:?}, {} KVM_RUNs refused, {outcomes:?}", seen.held, seen.reruns);
    }
    end(agent)
}

fn stopped(_: &Context) -> Result<Status> {
    let agent = holding(STOP)?;
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
    // Another VM is unaffected.
    let seen = load::run("--vmm qemu --name normal --count 20")?;
    ensure!(seen.outcomes["5"]["ok"] == 20, "{:?}", seen.outcomes);
    let bypassed = agent.scrape()?.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} passed");
    end(agent)
}

fn compat(_: &Context) -> Result<Status> {
    let agent = holding(&format!("{STOP}limit = {{ rate = \"5/s\", burst = 1 }}\n"))?;
    let before = Firmware::read()?;
    let seen = load::run("--vmm qemu --name old --compat --seconds 5")?;
    let passed = Firmware::read()?.since(&before).guest_requests;
    ensure!(passed <= 5 * 6 + 2, "{passed} passed in 5 s at 5/s");
    ensure!(seen.held > Duration::from_secs(1), "not held: {:?}", seen.held);
    let seen = load::run("--vmm qemu --name older --compat --type export --count 10")?;
    ensure!(seen.outcomes["7"].get("errno:1") == Some(&1), "not stopped: {:?}", seen.outcomes);
    end(agent)
}

fn unknown_vmm(_: &Context) -> Result<Status> {
    let agent = holding(&format!("{STOP}limit = {{ rate = \"5/s\", burst = 1 }}\n"))?;
    // It handles no signal, so a kick would kill it.
    let seen = load::run("--processes --name unknown --type report,export --count 20")?;
    ensure!(seen.requests > 0, "the unknown VMM sent nothing");
    let metrics = agent.scrape()?;
    let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed > 0.0, "what passed is not reported");
    let (status, why) = agent::get("/readyz")?;
    ensure!(status == 503 && why.contains("bypassed enforcement"), "{status} {why}");
    println!("{bypassed} reported; /readyz: {}", why.trim());
    end(agent)
}
