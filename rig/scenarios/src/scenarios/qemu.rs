//! # VMs of an unmodified QEMU
//!
//! Everything between guest and PSP is real here except the guest's code and the firmware: QEMU
//! launches the VM, runs its vCPU and takes what guestreq does to it.

mod firmware;
mod gate;
mod guests;
mod launch;
mod load;
mod newer;
mod vcpu;
mod waiting;

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    assert_exact,
    takeover::{self, Host},
};
use crate::{
    agent::{Agent, is_known, vm_named},
    flash::Script,
    host::{Firmware, wait_until},
    qemu::Qemu,
    scenario::{Context, Group, Needs, Status, scenario},
};

scenario!(COUNTED: "qemu/counted" = counted,
    "what QEMU's guest sends is counted under the VM's name and UUID, as guest and firmware count it");
scenario!(night SIX: "qemu/six" = six,
    "six QEMUs at once are counted separately, as their guests count");
scenario!(RESTARTED_AGENT: "qemu/restarted_agent" = restarted_agent,
    "QEMU's requests are decided and counted while the agent is killed and restarted");

pub const GROUP: Group = Group {
    name: "qemu",
    needs: Needs::Vmm,
    memory_mib: 2048,
    scenarios: &[
        COUNTED,
        gate::DENIED,
        vcpu::HELD,
        vcpu::DENIED,
        guests::VCPUS,
        guests::GHCB,
        newer::COUNTED,
    ],
    once: &[
        SIX,
        RESTARTED_AGENT,
        launch::KILLED,
        gate::LIMITED,
        gate::LONG,
        gate::CHANGED,
        vcpu::STOPPED,
        vcpu::KILLED,
        vcpu::ENDED,
        waiting::MONITOR,
        waiting::KILLED,
        waiting::RESET,
        load::SHARE,
        load::ORDER,
        load::LAUNCHES,
        newer::RESET,
        newer::DENIED,
        newer::ENDED,
        newer::NAMES,
        firmware::OVMF,
        firmware::NO_METADATA,
        guests::SILENT,
    ],
    ..Group::DEFAULT
};

/// Ten requests a second.
const INTERVAL: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(60);

const REPORT: u8 = 5;
const KEY: u8 = 3;
const TSC_INFO: u8 = 17;
const EXPORT: u8 = 7;

fn count(agent: &Agent, vm: &str, result: &str) -> Result<u64> {
    let labels = [("vm", vm), ("result", result)];
    Ok(agent.scrape()?.sum("guestreq_requests_total", &labels) as u64)
}

/// Waits until a VM's last request has its letter, and its guest has ended.
fn end_of_script(vm: &mut Qemu, requests: u64) -> Result<()> {
    let all = |letters: &str| letters.len() as u64 >= requests;
    vm.wait_for(&format!("{requests} answers"), all)?;
    // QEMU 10 does not know how a guest asks to be terminated, and pauses it.
    vm.wait_for_status("internal-error")?;
    let log = vm.log()?;
    ensure!(log.contains("KVM: unknown exit reason 24"), "{log}");
    let letters = vm.letters()?;
    ensure!(letters == ".".repeat(requests as usize), "{}: {letters}", vm.name);
    Ok(())
}

fn counted(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL / 5).requests(&[(REPORT, 0), (KEY, 1), (TSC_INFO, 2)]);
    let mut plain = Qemu::start("web-1", &script.clone().count(30))?;
    let mut extended = Qemu::start("web-2", &script.extended().count(12))?;
    println!("QEMU {}", plain.version());
    end_of_script(&mut plain, 30)?;
    end_of_script(&mut extended, 12)?;
    for (vm, requests) in [(&plain, 30), (&extended, 12)] {
        let shown = vm_named(&vm.name)?;
        ensure!(shown["uuid"] == vm.uuid.as_str() && shown["vmm"] == "qemu", "{shown}");
        ensure!(shown["pid"] == vm.pid(), "{shown}");
        let counted = count(&agent, &vm.name, "ok")?;
        ensure!(counted == requests, "{}: {counted} counted", vm.name);
    }
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered == 42, "{answered} of 42 reached the firmware");
    Ok(Status::Passed)
}

fn six(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let mut vms = Vec::new();
    for i in 1..=6 {
        // Each in another interval.
        vms.push(Qemu::start(&format!("vm-{i}"), &Script::reports(INTERVAL * 2 / i))?);
    }
    // The first one still sends when the last one does.
    for vm in &mut vms {
        vm.wait_for_answers(10)?;
    }
    vms.iter_mut().try_for_each(|vm| vm.execute("stop").map(drop))?;
    for vm in &vms {
        let (counted, letters) = (count(&agent, &vm.name, "ok")?, vm.letters()?);
        let read = letters.len() as u64;
        ensure!(letters.chars().all(|letter| letter == '.'), "{}: {letters}", vm.name);
        // Between an answer and its letter it may have stopped.
        ensure!((read..=read + 1).contains(&counted), "{}: {counted} of {read}", vm.name);
    }
    let answered = assert_exact(&agent, &before)?;
    println!("{answered} requests of 6 QEMUs");
    Ok(Status::Passed)
}

fn restarted_agent(_: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let first = takeover::start(&[])?;
    let script = Script::reports(INTERVAL / 2).requests(&[(REPORT, 0), (EXPORT, 1)]);
    let mut vm = Qemu::start("restarted", &script)?;
    vm.wait_for_answers(5)?;
    first.kill()?;
    vm.wait_for_answers(5)?;
    let second = takeover::start(&[])?;
    wait_until("the VM has its name", LIMIT, || is_known("restarted"))?;
    vm.wait_for_answers(5)?;
    vm.execute("stop")?;
    let letters = vm.letters()?;
    let expected: String = ".I".chars().cycle().take(letters.len()).collect();
    ensure!(letters == expected, "{letters}");
    // Between an answer and its letter it may have stopped.
    let (answered, read) = (host.exact(&second)?, vm.count('.')?);
    ensure!(answered - read <= 1, "{answered} reached the firmware, the guest read {read}");
    println!("{answered} requests of QEMU's guest, under two agents and none");
    drop(vm);
    host.end(second)?;
    Ok(Status::Passed)
}
