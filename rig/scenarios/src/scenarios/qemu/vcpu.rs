//! # What the vcpu backend does to QEMU

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{INTERVAL, LIMIT, REPORT};
use crate::{
    agent::{Agent, cli, is_gone, json},
    flash::Script,
    host::{Firmware, wait_until},
    qemu::{Machine, QEMU_10, QEMU_11, Qemu},
    scenario::{Context, Status, scenario},
    scenarios::vcpu_backend::{STOP, end, holding},
};

scenario!(HELD: "qemu/vcpu_held" = held,
    "QEMU's vCPU is held over its limit, its VM stays running, and continues without the limit");
scenario!(STOPPED: "qemu/vcpu_stopped" = stopped,
    "QEMU stops, continues and quits while its vCPU is held");
scenario!(KILLED: "qemu/vcpu_killed" = killed,
    "a QEMU that is killed while its vCPU is held leaves nothing behind");
scenario!(DENIED: "qemu/vcpu_denied" = denied,
    "a denied type holds QEMU's VM, which continues once the type is allowed, and ends when it is reset");
scenario!(night ENDED: "qemu/vcpu_denied_stop" = ended,
    "with vcpu_denied = stop a denied type ends QEMU's VM, and it exits when it is reset");

/// A VM that sends twenty requests a second, and is not limited yet.
fn eager(name: &str) -> Result<Qemu> {
    eager_of(QEMU_10, name)
}

fn eager_of(program: &'static str, name: &str) -> Result<Qemu> {
    let script = Script::reports(INTERVAL / 2);
    let mut vm = Machine::new(name, &script)?.with(program).start()?;
    vm.wait_for_answers(3)?;
    Ok(vm)
}

/// Both QEMUs, and what the names of their VMs end with.
const PROGRAMS: [(&str, &str); 2] = [(QEMU_10, "10"), (QEMU_11, "11")];

/// Holds it nearly always: each half second it may run, and is held again.
fn hold(agent: &Agent, vm: &Qemu) -> Result<()> {
    let held = || {
        let held = agent.scrape()?.sum("guestreq_vcpu_held_total", &[("vm", &vm.name)]);
        anyhow::Ok(held)
    };
    let before = held()?;
    cli(&["limit", "set", "--vm", &vm.name, "--rate", "1/h", "--burst", "1", "--force"])?;
    wait_until("its vCPU is held", LIMIT, || Ok(held()? > before))
}

fn answers_in(vm: &Qemu, time: Duration) -> Result<u64> {
    let before = vm.count('.')?;
    sleep(time);
    Ok(vm.count('.')? - before)
}

fn held(_: &Context) -> Result<Status> {
    let agent = holding("")?;
    let mut vm = eager("held")?;
    hold(&agent, &vm)?;
    let begin = Instant::now();
    let during = answers_in(&vm, INTERVAL * 30)?;
    // 20 a second without a limit; one for each half second, and two more.
    let most = 2 * begin.elapsed().as_secs() + 4;
    ensure!(during <= most, "{during} answers, {most} are the most");
    let status = vm.status()?;
    ensure!(status == "running", "it is {status}");
    cli(&["limit", "set", "--vm", "held", "--off"])?;
    vm.wait_for_answers(20)?;
    let letters = vm.letters()?;
    ensure!(letters.chars().all(|it| it == '.'), "the guest noticed: {letters}");
    println!("held: {during} answers in 3 s of 60");
    drop(vm);
    end(agent)
}

fn stopped(_: &Context) -> Result<Status> {
    let agent = holding("")?;
    for (program, version) in PROGRAMS {
        stopped_one(&agent, eager_of(program, &format!("stopped-{version}"))?)?;
    }
    end(agent)
}

fn stopped_one(agent: &Agent, mut vm: Qemu) -> Result<()> {
    hold(agent, &vm)?;
    vm.execute("stop")?;
    vm.wait_for_status("paused")?;
    let during = answers_in(&vm, INTERVAL * 10)?;
    ensure!(during == 0, "{during} answers while it is stopped");
    vm.execute("cont")?;
    vm.wait_for_status("running")?;
    // Stopped again, and the limit ends meanwhile.
    vm.execute("stop")?;
    cli(&["limit", "set", "--vm", &vm.name, "--off"])?;
    vm.execute("cont")?;
    vm.wait_for_answers(10)?;
    cli(&["limit", "clear", "--vm", &vm.name])?;
    hold(agent, &vm)?;
    vm.execute("quit")?;
    let status = vm.wait()?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}

fn killed(_: &Context) -> Result<Status> {
    let mut agent = holding("")?;
    let before = Firmware::read()?;
    let mut answered = 0;
    for (program, version) in PROGRAMS {
        let name = format!("killed-{version}-1");
        let vm = eager_of(program, &name)?;
        hold(&agent, &vm)?;
        answered += vm.count('.')?;
        vm.kill()?;
        is_gone(&name, LIMIT)?;
        // And one in the PSP: the request is answered, but nobody reads it.
        let name = format!("killed-{version}-2");
        let vm = eager_of(program, &name)?;
        Firmware::set("latency_us", 1_000_000)?;
        let psp_is_busy = || Ok(json("psp")?["holder"]["command"] == "snp_guest_request");
        wait_until("its request is in the PSP", LIMIT, psp_is_busy)?;
        vm.kill()?;
        Firmware::reset()?;
        is_gone(&name, LIMIT)?;
    }
    agent.wait_until("no guest context is left, and no thread that may be held", |metrics| {
        metrics.is_map_empty("contexts") && metrics.is_map_empty("threads")
    })?;
    let (made, gone) = Firmware::read()?.since(&before).contexts();
    let vms = 2 * PROGRAMS.len() as u64;
    ensure!(made == vms && gone == vms, "{made} guest contexts of {vms} VMs, {gone} have gone");
    let mut next = eager("next")?;
    next.execute("stop")?;
    let counted = agent.scrape()?.sum("guestreq_messages_total", &[]) as u64;
    let reached = Firmware::read()?.since(&before).guest_requests;
    ensure!(counted == reached && reached > answered, "{counted} counted, {reached} reached it");
    drop(next);
    end(agent)
}

fn denied(_: &Context) -> Result<Status> {
    let agent = holding("")?;
    let mut vm = eager("denied")?;
    let held = || -> Result<f64> {
        Ok(agent.scrape()?.sum("guestreq_vcpu_stopped_total", &[("vm", "denied")]))
    };
    // Its VMPCK, and whatever its guest has in memory, survive each of these.
    for release in ["allow", "audit"] {
        let before = Firmware::read()?;
        let held_before = held()?;
        cli(&["policy", "deny", "report", "--vm", "denied", "--yes"])?;
        wait_until("its vCPU is held", LIMIT, || Ok(held()? > held_before))?;
        let answers = answers_in(&vm, INTERVAL * 20)?;
        ensure!(answers <= 1, "{answers} answers in 2 s");
        let status = vm.status()?;
        ensure!(status == "running", "it is {status}");
        vm.execute("stop")?;
        vm.execute("cont")?;
        match release {
            "allow" => cli(&["policy", "allow", "report", "--vm", "denied"])?,
            _ => cli(&["policy", "mode", "audit", "--vm", "denied"])?,
        };
        vm.wait_for_answers(10)?;
        let letters = vm.letters()?;
        ensure!(letters.chars().all(|it| it == '.'), "the guest noticed: {letters}");
        let sent = Firmware::read()?.since(&before).guest_requests;
        println!("{release}: {sent} requests before and after");
    }
    cli(&["policy", "clear", "--vm", "denied"])?;
    let held_before = held()?;
    cli(&["policy", "deny", "report", "--vm", "denied", "--yes"])?;
    wait_until("its vCPU is held", LIMIT, || Ok(held()? > held_before))?;
    vm.execute("system_reset")?;
    let status = vm.wait()?;
    ensure!(status.code() == Some(0), "{status}: {}", vm.log()?);
    cli(&["policy", "clear", "--vm", "denied"])?;
    end(agent)
}

fn ended(_: &Context) -> Result<Status> {
    let agent = holding(STOP)?;
    let mut vm = eager("ended")?;
    cli(&["policy", "deny", "report", "--vm", "ended", "--yes"])?;
    vm.wait_for_status("internal-error")?;
    let log = vm.log()?;
    ensure!(log.contains("error: kvm run failed Operation not permitted"), "{log}");
    let reports = || Ok::<_, anyhow::Error>(Firmware::read()?.messages[&(REPORT, 0)]);
    let before = reports()?;
    // No policy brings it back.
    cli(&["policy", "mode", "audit", "--vm", "ended"])?;
    let refusal = vm.execute("cont").err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refusal.contains("Resetting the Virtual Machine is required"), "{refusal:?}");
    vm.execute("system_reset")?;
    let status = vm.wait()?;
    ensure!(status.code() == Some(0), "{status}");
    let after = reports()?;
    ensure!(after == before, "{} reports after it was stopped", after - before);
    cli(&["policy", "clear", "--vm", "ended"])?;
    end(agent)
}
