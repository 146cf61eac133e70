//! # What happens to those that wait
//!
//! Nobody is lost, refused, or counted twice: requests into the gate = grants + killed, and grants
//! = requests at the firmware.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use guestreq_common::command::SNP_LAUNCH_FINISH;

use super::{
    super::gate::{ensure_all, outcomes},
    end, load_gate, pushing,
};
use crate::{
    agent::{Agent, cli, signal},
    gate::{Gate, Order},
    host::{Firmware, wait_until},
    load::{self, Cue, Load},
    scenario::{Context, Status, scenario},
};

scenario!(KILLED: "order/killed" = killed,
    "VMMs that are killed while they wait leave nothing behind");
scenario!(SIGNALS: "order/signals" = signals,
    "signals to a vCPU that waits change nothing for its guest");
scenario!(PARAMETERS: "order/parameters" = parameters,
    "depth and launch_share can be changed under load, and not to nonsense");
scenario!(night OVERDUE: "order/overdue" = overdue,
    "who has waited for ten seconds goes to the PSP anyway, and is counted");

/// Nobody waits or has a slot, and every request is accounted for.
pub fn nothing_left(gate: &Gate, at_firmware: u64) -> Result<Order> {
    wait_until("nobody waits", Duration::from_secs(60), || {
        let order = gate.order()?;
        Ok(order.of("waiting")? == 0 && order.of("in_flight")? == 0)
    })?;
    let (order, into_gate) = (gate.order()?, gate.counts()?.sum());
    let (grants, killed) = (order.of("grants")?, order.of("killed")?);
    ensure!(into_gate == grants + killed, "{into_gate} into the gate, {order:?}");
    ensure!(grants == at_firmware, "{at_firmware} at the firmware, {order:?}");
    Ok(order)
}

/// Stops the loads. Each of their requests was answered, and has been at the PSP.
pub fn all_answered<const N: usize>(
    gate: &Gate,
    loads: [Load; N],
    before: &Firmware,
) -> Result<Order> {
    let mut requests = 0;
    for load in loads {
        let seen = load.stop()?;
        ensure_all(&seen, "ok", seen.requests)?;
        requests += seen.requests;
    }
    let sent = Firmware::read()?.since(before).guest_requests;
    ensure!(sent == requests, "{sent} at the PSP, {requests} from guests");
    nothing_left(gate, sent)
}

fn kill_vms(load: &Load) -> Result<()> {
    let vms = load.processes()?.into_iter().filter(|pid| *pid != load.pid());
    vms.into_iter().try_for_each(|pid| signal(pid, libc::SIGKILL))
}

fn killed(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    if context.is_debug_kernel {
        // Killing all takes longer there, and the PSP shall not serve them meanwhile.
        Firmware::set("latency_us", 10 * super::REQUEST_US)?;
    }
    let before = Firmware::read()?;
    for _ in 0..if context.long { 20 } else { 3 } {
        let load = pushing(&gate, 14, "--vcpus 2 --vmpck all")?;
        let waiting = gate.order()?.of("killed")?;
        kill_vms(&load)?;
        load.end()?;
        let died = gate.order()?.of("killed")? - waiting;
        ensure!(died >= 10, "{died} were killed while they waited");
    }
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    let order = nothing_left(&gate, Firmware::read()?.since(&before).guest_requests)?;
    println!("{order:?}");
    end(gate)
}

/// QEMU's kick, as often as possible.
fn signals(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let before = Firmware::read()?;
    let load = pushing(&gate, 14, "--vmm qemu --vcpus 2 --vmpck all")?;
    let vms: Vec<u32> = load.processes()?.into_iter().filter(|pid| *pid != load.pid()).collect();
    let mut sent = 0u64;
    for _ in 0..if context.long { 4000 } else { 300 } {
        for vm in &vms {
            for thread in std::fs::read_dir(format!("/proc/{vm}/task"))?.flatten() {
                let thread = thread.file_name().to_string_lossy().parse::<i32>()?;
                // SAFETY: numbers only.
                let ret = unsafe { libc::syscall(libc::SYS_tgkill, *vm, thread, libc::SIGUSR1) };
                ensure!(ret == 0, "tgkill {vm} {thread}");
                sent += 1;
            }
        }
        sleep(Duration::from_millis(5));
    }
    let seen = load.stop()?;
    println!("{sent} signals, {} KVM_RUNs were interrupted, {:?}", seen.reruns, outcomes(&seen));
    ensure!(seen.reruns > 0, "no signal arrived in KVM_RUN");
    ensure_all(&seen, "ok", seen.requests)?;
    let order = nothing_left(&gate, Firmware::read()?.since(&before).guest_requests)?;
    ensure!(order.of("grants")? == seen.requests, "{} requests, {order:?}", seen.requests);
    end(gate)
}

fn parameters(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    for (name, values) in [
        ("depth", ["-1", "x", "1025", "99999999999"].as_slice()),
        ("launch_share", &["-1", "101", "75%"]),
    ] {
        for value in values {
            ensure!(gate.set(name, value).is_err(), "{name} = {value} was accepted");
        }
    }
    let before = Firmware::read()?;
    let load = pushing(&gate, 14, "")?;
    let launching =
        load::start("--vms 2 --processes --name l --pages 40 --count 0 --relaunch-for 3600")?;
    for i in 0..if context.long { 2000 } else { 60 } {
        gate.set("depth", ["0", "1", "3", "1", "1024"][i % 5])?;
        gate.set("launch_share", ["75", "0", "100"][i % 3])?;
        sleep(Duration::from_millis(40));
    }
    gate.set("depth", "1")?;
    let launches = launching.stop()?.launches;
    ensure!(launches.iter().all(|launch| launch.result == "ok"), "{launches:?}");
    let order = all_answered(&gate, [load], &before)?;
    println!("{} launches, {order:?}", launches.len());
    end(gate)
}

/// A request that takes twelve seconds stands for a hung PSP, without what ccp does about one.
fn overdue(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    // Not on a debug kernel, where what the gate does matters.
    let observing = || Agent::with_config("mode = \"observe\"\n");
    let agent = (!context.is_debug_kernel).then(observing).transpose()?;
    let before = Firmware::read()?;
    // Launched before, as the PSP will have no time for launches.
    let cue = Cue::new("order-overdue");
    let waiting =
        load::start(&format!("--vms 5 --processes --name waits --count 2 --cue {}", cue.path()))?;
    wait_until("they are launched", Duration::from_secs(60), || {
        Ok(Firmware::read()?.since(&before).count(SNP_LAUNCH_FINISH) == 5)
    })?;
    Firmware::set("latency_us", 12_000_000)?;
    let slow = load::start("--name slow")?;
    wait_until("the PSP has it", Duration::from_secs(20), || {
        Ok(gate.order()?.of("in_flight")? == 1)
    })?;
    // By then the firmware has looked at how long it shall take.
    sleep(Duration::from_millis(500));
    Firmware::set("latency_us", 0)?;
    cue.give()?;
    let (slow, waiting) = (slow.finish()?, waiting.finish()?);
    ensure_all(&slow, "ok", 1)?;
    ensure_all(&waiting, "ok", 10)?;
    let order = nothing_left(&gate, Firmware::read()?.since(&before).guest_requests)?;
    println!("{order:?}");
    ensure!(order.of("overdue")? == 5, "{order:?}");
    if let Some(agent) = agent {
        let mut events = String::new();
        wait_until("the agent reports it", Duration::from_secs(20), || {
            events = cli(&["events", "--no-follow", "--kind", "overdue", "-o", "json"])?;
            Ok(!events.is_empty())
        })?;
        ensure!(events.lines().count() == 1, "not once: {events}");
        drop(agent);
    }
    end(gate)
}
