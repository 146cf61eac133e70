//! # QEMUs whose request waits for the PSP
//!
//! In the order, behind another VM's request, or in the PSP itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{INTERVAL, LIMIT, count};
use crate::{
    agent::{Agent, is_gone, json},
    enforcing::Enforcing,
    flash::Script,
    gate::{Gate, waiters},
    host::{Firmware, wait_until},
    load::{self, Load},
    qemu::Qemu,
    scenario::{Context, Status, scenario},
    scenarios::{assert_exact, order::under_load::nothing_left},
};

scenario!(night MONITOR: "qemu/order_stopped" = monitor,
    "QEMU stops, continues and quits while its request waits for the PSP, and its guest notices nothing");
scenario!(KILLED: "qemu/order_killed" = killed,
    "a QEMU that is killed while its request waits for the PSP, or is there, leaves nothing behind");
scenario!(RESET: "qemu/reset" = reset,
    "QEMU ends when its VM is reset, and the same VM is another one when it is started again");

/// So slow that a request of another VM is seen to wait.
const SERVICE: Duration = Duration::from_millis(400);
/// Slow enough to kill a waiting VM before its turn.
const LONG_SERVICE: Duration = Duration::from_secs(2);

/// A VM whose requests keep the PSP busy.
fn busy_psp() -> Result<Load> {
    Firmware::set("latency_us", SERVICE.as_micros())?;
    let load = load::start("--vmm qemu --name busy --vcpus 2 --vmpck all --seconds 600")?;
    wait_until("the PSP is busy", LIMIT, || {
        Ok(json("psp")?["holder"]["command"] == "snp_guest_request")
    })?;
    Ok(load)
}

fn waits(vm: &Qemu) -> Result<bool> {
    Ok(waiters()?.iter().any(|waiter| waiter.pid == vm.pid()))
}

fn wait_until_it_waits(vm: &Qemu) -> Result<()> {
    wait_until(&format!("{} waits in the order", vm.name), LIMIT, || waits(vm))
}

/// Waits until another VM's long request has just begun, and this VM waits behind it.
fn wait_until_it_waits_long(vm: &Qemu, gate: &Gate) -> Result<()> {
    Firmware::set("latency_us", LONG_SERVICE.as_micros())?;
    let grants = || gate.order()?.of("grants");
    let mut last = grants()?;
    wait_until(&format!("{} waits for long", vm.name), LIMIT, || {
        // The request that is in the PSP when the time changes still takes the old one.
        let before = std::mem::replace(&mut last, grants()?);
        Ok(last > before && waits(vm)?)
    })
}

fn monitor(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let before = Firmware::read()?;
    let sent = || Ok::<_, anyhow::Error>(Firmware::read()?.since(&before).guest_requests);
    let mut vm = Qemu::start("patient", &Script::reports(INTERVAL))?;
    vm.wait_for_answers(2)?;
    let load = busy_psp()?;
    wait_until_it_waits(&vm)?;
    // It kicks the vCPU, whose request nevertheless goes to the PSP and is answered.
    vm.execute("stop")?;
    ensure!(!waits(&vm)?, "it is stopped, and its request waits");
    let (status, answers, at_stop) = (vm.status()?, vm.count('.')?, sent()?);
    ensure!(status == "paused", "it is {status}");
    wait_until("others are served", LIMIT, || Ok(sent()? >= at_stop + 3))?;
    ensure!(vm.count('.')? == answers, "it is stopped, and reads an answer");
    vm.execute("cont")?;
    vm.wait_for_answers(1)?;
    wait_until_it_waits(&vm)?;
    vm.execute("quit")?;
    let status = vm.wait()?;
    ensure!(status.code() == Some(0), "{status}");
    let letters = vm.letters()?;
    ensure!(letters.chars().all(|it| it == '.'), "the guest noticed: {letters}");
    // The last answer has no letter: QEMU had ended.
    let counted = count(&agent, "patient", "ok")?;
    ensure!(counted - letters.len() as u64 <= 1, "{counted} counted, it read {letters}");
    load.stop()?;
    let order = nothing_left(&gate, sent()?)?;
    ensure!(order.of("killed")? == 0, "{order:?}");
    Firmware::reset()?;
    Enforcing { agent, gate }.end()
}

fn killed(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL);
    let (first, second) = (Qemu::start("waiting", &script)?, Qemu::start("at-the-psp", &script)?);
    let load = busy_psp()?;
    wait_until_it_waits_long(&first, &gate)?;
    first.kill()?;
    Firmware::set("latency_us", SERVICE.as_micros())?;
    ensure!(gate.order()?.of("killed")? == 1, "{:?}", gate.order()?);
    is_gone("waiting", LIMIT)?;
    load.stop()?;
    // Alone, its request is in the PSP nearly always.
    wait_until("its request is in the PSP", LIMIT, || {
        let holder = &json("psp")?["holder"];
        Ok(holder["vm"] == "at-the-psp" && holder["command"] == "snp_guest_request")
    })?;
    second.kill()?;
    is_gone("at-the-psp", LIMIT)?;
    Firmware::reset()?;
    let mut third = Qemu::start("third", &script)?;
    third.wait_for_answers(3)?;
    third.execute("stop")?;
    let order = nothing_left(&gate, Firmware::read()?.since(&before).guest_requests)?;
    ensure!(order.of("killed")? == 1 && order.of("overdue")? == 0, "{order:?}");
    assert_exact(&agent, &before)?;
    drop(third);
    Enforcing { agent, gate }.end()
}

fn reset(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL / 2);
    for round in 1..=2 {
        let mut vm = Qemu::start("web", &script)?;
        vm.wait_for_answers(3)?;
        vm.execute("system_reset")?;
        let status = vm.wait()?;
        ensure!(status.code() == Some(0), "{status}: {}", vm.log()?);
        let uuid = vm.uuid.clone();
        wait_until("the VM is known to have exited", LIMIT, || {
            let vms = json("vms")?;
            let all = vms["vms"].as_array().context("no VMs")?;
            ensure!(all.len() == round, "{vms}");
            ensure!(all.iter().all(|vm| vm["name"] == "web"), "{vms}");
            Ok(all.iter().any(|vm| vm["uuid"] == uuid.as_str() && vm["running"] == false))
        })?;
    }
    ensure!(assert_exact(&agent, &before)? >= 6, "not all requests reached the firmware");
    Ok(Status::Passed)
}
