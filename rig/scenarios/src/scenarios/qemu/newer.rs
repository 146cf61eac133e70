//! # The newer QEMU, and QEMUs under other names

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{EXPORT, INTERVAL, KEY, LIMIT, REPORT, count};
use crate::{
    agent::{Agent, cli, json, vm_named},
    flash::Script,
    host::{Firmware, wait_until},
    qemu::{Machine, QEMU_10, QEMU_11, Qemu},
    scenario::{Context, Status, scenario},
    scenarios::{
        assert_exact,
        vcpu_backend::{STOP, end, holding},
    },
};

scenario!(COUNTED: "qemu/newer_counted" = counted,
    "QEMU 11, in another place than its package's, is known and counted, and ends with its guest");
scenario!(RESET: "qemu/newer_reset" = reset,
    "QEMU 11 resets its VM by launching another one of the same name, and each guest is counted");
scenario!(DENIED: "qemu/newer_denied" = denied,
    "QEMU 11's VM is held after a denied type, and a reset or the type's permission lets it run again");
scenario!(night ENDED: "qemu/newer_denied_stop" = ended,
    "with vcpu_denied = stop a denied type ends QEMU 11's VM");
scenario!(night NAMES: "qemu/programs" = programs,
    "QEMU is known under the names and in the places that distributions give it");

fn start(name: &str, script: &Script) -> Result<Qemu> {
    Machine::new(name, script)?.with(QEMU_11).start()
}

fn counted(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL / 2).requests(&[(REPORT, 0), (KEY, 1)]);
    let mut plain = start("newer-1", &script.clone().count(20))?;
    let mut extended = start("newer-2", &script.extended().count(10))?;
    println!("QEMU {}", plain.version());
    for (vm, requests) in [(&mut plain, 20), (&mut extended, 10)] {
        // It knows how a guest asks to be terminated.
        let status = vm.wait()?;
        ensure!(status.code() == Some(0), "{status}: {}", vm.log()?);
        let row = vm_named(&vm.name)?;
        ensure!(row["uuid"] == vm.uuid.as_str() && row["vmm"] == "qemu", "{row}");
        let letters = vm.letters()?;
        ensure!(letters == ".".repeat(requests), "{}: {letters}", vm.name);
        let counted = count(&agent, &vm.name, "ok")?;
        ensure!(counted == requests as u64, "{}: {counted} counted", vm.name);
    }
    ensure!(assert_exact(&agent, &before)? == 30, "not all reached the firmware");
    Ok(Status::Passed)
}

fn reset(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let mut vm = start("again", &Script::reports(INTERVAL / 2))?;
    for resets in 0..3 {
        vm.wait_for_answers(5)?;
        if resets < 2 {
            vm.execute("system_reset")?;
        }
    }
    vm.execute("stop")?;
    let pid = vm.pid();
    let metrics = agent.wait_until("three launches ended", |metrics| {
        metrics.sum("guestreq_launches_total", &[("result", "finished")]) == 3.0
    })?;
    let vms = json("vms")?;
    let all: Vec<_> = vms["vms"].as_array().into_iter().flatten().collect();
    let runs = all.iter().filter(|vm| vm["running"] == true).count();
    ensure!(runs == 1 && all.iter().all(|vm| vm["name"] == "again" && vm["pid"] == pid), "{vms}");
    // Each guest begins with sequence number 1.
    for anomaly in ["replay", "gap"] {
        let found = metrics.sum("guestreq_sequence_anomalies_total", &[("kind", anomaly)]);
        ensure!(found == 0.0, "{found} {anomaly}");
    }
    let answered = assert_exact(&agent, &before)?;
    // Between an answer and its letter each guest may have ended.
    let read = vm.count('.')?;
    ensure!(answered - read <= 3, "{answered} counted, its guests read {read}");
    println!("{answered} requests of three guests of one process");
    Ok(Status::Passed)
}

/// A report, and then a type that is denied.
fn disallowed() -> Script {
    Script::reports(INTERVAL / 2).requests(&[(REPORT, 0), (EXPORT, 1)])
}

fn stopped(agent: &Agent) -> Result<f64> {
    Ok(agent.scrape()?.sum("guestreq_vcpu_stopped_total", &[]))
}

fn denied(_: &Context) -> Result<Status> {
    let agent = holding("")?;
    let mut vm = start("newer-denied", &disallowed())?;
    wait_until("its vCPU is held", LIMIT, || Ok(stopped(&agent)? == 1.0))?;
    let status = vm.status()?;
    ensure!(status == "running", "it is {status}");
    // Another guest, which the hold is not for.
    vm.execute("system_reset")?;
    wait_until("the next guest's vCPU is held", LIMIT, || Ok(stopped(&agent)? == 2.0))?;
    cli(&["policy", "allow", "export", "--vm", "newer-denied"])?;
    vm.wait_for_answers(10)?;
    let letters = vm.letters()?;
    ensure!(letters.chars().all(|it| it == '.'), "a guest noticed: {letters}");
    drop(vm);
    cli(&["policy", "clear", "--vm", "newer-denied"])?;
    end(agent)
}

fn ended(_: &Context) -> Result<Status> {
    let agent = holding(STOP)?;
    let mut vm = start("newer-ended", &disallowed())?;
    vm.wait_for_status("internal-error")?;
    let log = vm.log()?;
    ensure!(log.contains("error: kvm run failed Operation not permitted"), "{log}");
    cli(&["policy", "mode", "audit", "--vm", "newer-ended"])?;
    let refusal = vm.execute("cont").err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refusal.contains("Resetting the Virtual Machine is required"), "{refusal:?}");
    // It continues there only with another abort of its own.
    vm.execute("system_reset")?;
    vm.wait_for_status("prelaunch")?;
    drop(vm);
    cli(&["policy", "clear", "--vm", "newer-ended"])?;
    end(agent)
}

/// Red Hat's, Debian's and Ubuntu's for libvirt, a build with patches, and one that somebody keeps.
const PROGRAMS: [&str; 4] = [
    "/usr/libexec/qemu-kvm",
    "/usr/bin/kvm",
    "/opt/qemu/bin/qemu-system-x86_64-snp",
    "/opt/qemu/bin/my-qemu",
];

fn programs(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    for (number, program) in PROGRAMS.into_iter().enumerate() {
        let _ = fs::remove_file(program);
        fs::hard_link(QEMU_10, program).context(program)?;
        let name = format!("of-{number}");
        let machine = Machine::new(&name, &Script::reports(INTERVAL))?.with(program);
        let mut vm = machine.start()?;
        vm.wait_for_answers(1)?;
        let row = vm_named(&name)?;
        ensure!(row["uuid"] == vm.uuid.as_str() && row["vmm"] == "qemu", "{program}: {row}");
        ensure!(row["pid"] == vm.pid(), "{program}: {row}");
        drop(vm);
        fs::remove_file(program).context(program)?;
    }
    drop(agent);
    Ok(Status::Passed)
}
