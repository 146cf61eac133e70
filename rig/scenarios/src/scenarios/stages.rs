//! # Stages of a request

use anyhow::{Context as _, Result, ensure};

use super::assert_exact;
use crate::{
    agent::Agent,
    exposition::Metrics,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(ADD_UP: "stages/sum" = add_up, "a request's stages add up to its duration");
scenario!(BUSY_TIME: "stages/busy_time" = busy_time,
    "the PSP's busy time is the time for which the firmware was busy");
scenario!(VM_LOCK: "stages/vm_lock" = vm_lock, "vCPUs of one VM wait in the stage vm_lock");
scenario!(PSP_QUEUE: "stages/psp_queue" = psp_queue,
    "VMs that compete for the PSP wait in the stage psp_queue");

const GUEST_REQUEST: [(&str, &str); 1] = [("command", "snp_guest_request")];

fn close(what: &str, a: f64, b: f64, tolerance: f64) -> Result<()> {
    let off = (a - b).abs() / b.max(1e-9);
    ensure!(off <= tolerance, "{what}: {a} and {b} differ by {:.2} %", off * 100.0);
    Ok(())
}

fn add_up(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    Firmware::set("latency_us", 2000)?;
    Firmware::set("jitter_us", 3000)?;
    load::run("--vms 8 --processes --vcpus 2 --vmpck all --count 20")?;
    Firmware::reset()?;
    assert_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    for vm in metrics.values("guestreq_vm_info", "vm") {
        let of_vm = [("vm", vm.as_str())];
        let whole = metrics.sum("guestreq_request_duration_seconds_sum", &of_vm);
        let stages = metrics.sum("guestreq_vm_stage_seconds_total", &of_vm);
        close(&vm, stages, whole, 1e-6)?;
    }
    let whole = metrics.sum("guestreq_request_duration_seconds_sum", &[]);
    close("all stages", metrics.sum("guestreq_stage_duration_seconds_sum", &[]), whole, 1e-6)?;
    // Every stage of every answered request is in its histogram, once.
    let requests = metrics.sum("guestreq_request_duration_seconds_count", &[]);
    for stage in ["vm_lock", "psp_queue", "psp_service"] {
        let count = metrics.sum("guestreq_stage_duration_seconds_count", &[("stage", stage)]);
        ensure!(count == requests, "{stage}: {count} of {requests}");
    }
    let by_vm = metrics.sum("guestreq_vm_psp_seconds_total", &[("class", "request")]);
    let by_command = metrics.sum("guestreq_psp_busy_seconds_total", &GUEST_REQUEST);
    close("the PSP's time", by_vm, by_command, 1e-6)?;
    Ok(Status::Passed)
}

/// The agent's busy time also includes the interrupt's way back.
fn busy_time(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    Firmware::set("latency_us", 8000)?;
    load::run("--vms 4 --processes --count 40")?;
    Firmware::reset()?;
    let firmware = Firmware::read()?.since(&before);
    let metrics = agent.scrape()?;
    let busy = metrics.sum("guestreq_psp_busy_seconds_total", &GUEST_REQUEST);
    let (count, busy_ns) = firmware.commands.get(&0x94).copied().context("no requests")?;
    let slept = firmware.slept.get(&0x94).copied().unwrap_or(0) as f64 / 1e9;
    let truth = busy_ns as f64 / 1e9;
    let counted = metrics.sum("guestreq_psp_commands_total", &GUEST_REQUEST);
    ensure!(counted == count as f64, "{counted} commands of {count}");
    ensure!(busy >= truth && busy >= slept, "busy {busy} s, the firmware {truth} s");
    // Allows for the driver's wake-up under emulation.
    ensure!(busy <= truth * 1.5, "busy {busy} s, the firmware {truth} s");
    println!("busy {busy:.3} s, the firmware was busy {truth:.3} s and slept {slept:.3} s of it");
    // All other commands are seen, too.
    for (command, (count, _)) in &firmware.commands {
        let name = guestreq_common::command::name(*command).context("a command without name")?;
        let counted = metrics.sum("guestreq_psp_commands_total", &[("command", name)]);
        ensure!(counted == *count as f64, "{name}: {counted} of {count}");
    }
    Ok(Status::Passed)
}

fn stage(metrics: &Metrics, stage: &str) -> f64 {
    metrics.sum("guestreq_vm_stage_seconds_total", &[("stage", stage)])
}

fn vm_lock(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    Firmware::set("latency_us", 3000)?;
    load::run("--vcpus 8 --vmpck all --count 10 --start-together")?;
    Firmware::reset()?;
    let metrics = agent.scrape()?;
    let (lock, queue, service) =
        (stage(&metrics, "vm_lock"), stage(&metrics, "psp_queue"), stage(&metrics, "psp_service"));
    // Of four VMPCKs three wait for the lock, not for the PSP.
    ensure!(lock > service, "lock {lock} s, service {service} s");
    ensure!(queue < service / 4.0, "queue {queue} s, service {service} s");
    Ok(Status::Passed)
}

fn psp_queue(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    Firmware::set("latency_us", 3000)?;
    let load = load::start("--vms 8 --processes --count 15 --start-together")?;
    let mut longest = 0.0f64;
    let mut load = load;
    while load.is_running()? {
        longest = longest.max(agent.scrape()?.sum("guestreq_psp_queue_length", &[]));
    }
    load.finish()?;
    Firmware::reset()?;
    let metrics = agent.scrape()?;
    let (lock, queue, service) =
        (stage(&metrics, "vm_lock"), stage(&metrics, "psp_queue"), stage(&metrics, "psp_service"));
    ensure!(queue > 3.0 * service, "queue {queue} s, service {service} s");
    ensure!(lock < service / 4.0, "lock {lock} s, service {service} s");
    ensure!((2.0..=8.0).contains(&longest), "the queue of 8 VMs was seen {longest} long");
    let now = metrics.sum("guestreq_psp_queue_length", &[]);
    ensure!(now == 0.0, "{now} still wait");
    Ok(Status::Passed)
}
