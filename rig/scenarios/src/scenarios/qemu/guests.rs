//! # Guests of other kinds
//!
//! With a second vCPU, with a GHCB for its pages, and one that spins: what most scripts do not.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{INTERVAL, KEY, LIMIT, REPORT, count, end_of_script};
use crate::{
    agent::{Agent, cli, is_gone, vm_named},
    flash::Script,
    host::{Firmware, wait_until},
    qemu::Qemu,
    scenario::{Context, Status, scenario},
    scenarios::{
        assert_exact,
        vcpu_backend::{end, holding},
    },
};

scenario!(SILENT: "qemu/silent" = silent,
    "a guest that never responds can be shown, stopped, ended and killed");
scenario!(VCPUS: "qemu/two_vcpus" = two_vcpus,
    "two vCPUs with VMPCKs of their own are counted as one VM, and each is held after a denied type");
scenario!(GHCB: "qemu/shares_by_ghcb" = shares_by_ghcb,
    "a guest that shares its pages by its GHCB is counted as one that uses the MSR protocol");

/// It sends one request, and then spins.
fn spinning(name: &str) -> Result<Qemu> {
    let script = Script { spins: true, ..Script::reports(INTERVAL) };
    let mut vm = Qemu::start(name, &script.count(1))?;
    vm.wait_for_answers(1)?;
    Ok(vm)
}

fn silent(_: &Context) -> Result<Status> {
    let agent = holding("")?;
    let before = Firmware::read()?;
    let mut quits = spinning("quits")?;
    let killed = spinning("killed")?;
    for name in ["quits", "killed"] {
        ensure!(vm_named(name)?["running"] == true, "{name}");
    }
    // It is asked to shut down, and does not respond.
    quits.execute("system_powerdown")?;
    sleep(Duration::from_secs(1));
    let status = quits.status()?;
    ensure!(status == "running", "it is {status}");
    quits.execute("stop")?;
    quits.execute("cont")?;
    cli(&["policy", "deny", "report", "--vm", "quits", "--yes"])?;
    quits.execute("quit")?;
    let status = quits.wait()?;
    ensure!(status.code() == Some(0), "{status}");
    killed.kill()?;
    for name in ["quits", "killed"] {
        is_gone(name, LIMIT)?;
    }
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered == 2, "{answered} requests");
    cli(&["policy", "clear", "--vm", "quits"])?;
    end(agent)
}

fn two_vcpus(_: &Context) -> Result<Status> {
    let agent = holding("")?;
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL / 2).requests(&[(REPORT, 0), (KEY, 1)]);
    let mut vm = Qemu::start("two", &Script { vcpus: 2, ..script })?;
    let start = Instant::now();
    let both = |vm: &Qemu, least: usize| -> Result<bool> {
        Ok(vm.letters_of(0)?.len() >= least && vm.letters_of(1)?.len() >= least)
    };
    wait_until("both vCPUs have got answers", LIMIT, || both(&vm, 12))?;
    println!("{} and {} answers in {:?}", vm.letters_of(0)?, vm.letters_of(1)?, start.elapsed());
    // Denied to both: each is held at its next one.
    cli(&["policy", "deny", "key", "--vm", "two", "--yes"])?;
    wait_until("both vCPUs are held", LIMIT, || {
        Ok(agent.scrape()?.sum("guestreq_vcpu_stopped_total", &[("vm", "two")]) == 2.0)
    })?;
    let held = [vm.letters_of(0)?.len(), vm.letters_of(1)?.len()];
    cli(&["policy", "allow", "key", "--vm", "two"])?;
    wait_until("both vCPUs continue", LIMIT, || both(&vm, held[0].max(held[1]) + 5))?;
    vm.execute("stop")?;
    let mut read = 0;
    for vcpu in [0, 1] {
        let letters = vm.letters_of(vcpu)?;
        ensure!(letters.chars().all(|it| it == '.'), "vCPU {vcpu}: {letters}");
        read += letters.len() as u64;
    }
    // Four VMPCKs, each with its own numbers in order: the firmware answers no other.
    let metrics = agent.scrape()?;
    for anomaly in ["replay", "gap"] {
        let found = metrics.sum("guestreq_sequence_anomalies_total", &[("kind", anomaly)]);
        ensure!(found == 0.0, "{found} {anomaly}");
    }
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered - read <= 2, "{answered} reached the firmware, the guest read {read}");
    cli(&["policy", "clear", "--vm", "two"])?;
    drop(vm);
    end(agent)
}

fn shares_by_ghcb(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    for (name, shares_by_ghcb) in [("by-msr", false), ("by-ghcb", true)] {
        let script = Script { shares_by_ghcb, ..Script::reports(INTERVAL / 2) };
        let (by_ghcb, vm) = page_state_changes(|| {
            let mut vm = Qemu::start(name, &script.count(10).extended())?;
            end_of_script(&mut vm, 10)?;
            Ok(vm)
        })?;
        ensure!((by_ghcb > 0) == shares_by_ghcb, "{name}: {by_ghcb} changes by its GHCB");
        ensure!(count(&agent, name, "ok")? == 10, "{name}: not all are counted");
        drop(vm);
    }
    ensure!(assert_exact(&agent, &before)? == 20, "not all reached the firmware");
    Ok(Status::Passed)
}

/// How many page-state changes guests request by their GHCBs meanwhile, as KVM traces them.
fn page_state_changes<T>(during: impl FnOnce() -> Result<T>) -> Result<(usize, T)> {
    const TRACING: &str = "/sys/kernel/tracing";
    const EVENT: &str = "events/kvm/kvm_vmgexit_enter";
    let write = |file: &str, text: &str| {
        let path = format!("{TRACING}/{file}");
        fs::write(&path, text).context(path)
    };
    // SVM_VMGEXIT_PSC
    write(&format!("{EVENT}/filter"), "exit_reason == 0x80000010")?;
    write("trace", "")?;
    write(&format!("{EVENT}/enable"), "1")?;
    let done = during();
    write(&format!("{EVENT}/enable"), "0")?;
    let trace = fs::read_to_string(format!("{TRACING}/trace")).context("the trace")?;
    Ok((trace.matches("kvm_vmgexit_enter").count(), done?))
}
