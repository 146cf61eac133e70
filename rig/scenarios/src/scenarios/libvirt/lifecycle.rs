//! # What an operator does with a domain

use std::thread::sleep;

use anyhow::{Result, ensure};

use super::{INTERVAL, counted, shown};
use crate::{
    agent::{is_gone, scrape},
    debian::LIMIT,
    flash::Script,
    host::{Firmware, wait_until},
    libvirt::Domain,
    scenario::{Context, Status, scenario},
};

scenario!(SUSPENDED: "libvirt/suspended" = suspended,
    "a domain that virsh suspends sends nothing, and is counted on after virsh resume");
scenario!(RESET: "libvirt/reset" = reset,
    "a domain that virsh resets ends with its QEMU, and is counted again when it is started");
scenario!(DESTROYED: "libvirt/destroyed" = destroyed,
    "a domain that virsh destroys is gone at once, and its requests remain counted");

fn suspended(_: &Context) -> Result<Status> {
    let domain = Domain::start("suspended", &Script::reports(INTERVAL))?;
    domain.wait_for_answers(3)?;
    domain.virsh("suspend")?;
    domain.wait_for_state("paused")?;
    // What is in the PSP is answered and counted.
    sleep(INTERVAL * 2);
    let before = counted(&domain, "ok")?;
    sleep(INTERVAL * 5);
    let sent = counted(&domain, "ok")? - before;
    ensure!(sent == 0, "{sent} requests while it was suspended");
    domain.virsh("resume")?;
    domain.wait_for_answers(3)?;
    ensure!(shown(&domain)?["vm"] == "suspended", "it lost its name");
    // Read first: it continues to send.
    let answered = domain.count('.')?;
    ensure!(counted(&domain, "ok")? >= answered, "not all are counted");
    domain.end()?;
    Ok(Status::Passed)
}

fn reset(_: &Context) -> Result<Status> {
    let domain = Domain::start("reset", &Script::reports(INTERVAL))?;
    domain.wait_for_answers(3)?;
    let first = domain.pid()?;
    domain.virsh("reset")?;
    domain.wait_for_state("shut off")?;
    domain.virsh("start")?;
    domain.wait_for_answers(1)?;
    let (second, before) = (domain.pid()?, counted(&domain, "ok")?);
    domain.wait_for_answers(3)?;
    ensure!(second != first, "the same QEMU");
    let vm = shown(&domain)?;
    ensure!(vm["pid"] == second, "{vm}");
    wait_until("it is counted again", LIMIT, || Ok(counted(&domain, "ok")? >= before + 3))?;
    domain.end()?;
    Ok(Status::Passed)
}

fn destroyed(_: &Context) -> Result<Status> {
    let messages = || anyhow::Ok(scrape()?.sum("guestreq_messages_total", &[]) as u64);
    let (before, messages_before) = (Firmware::read()?, messages()?);
    let domain = Domain::start("destroyed", &Script::reports(INTERVAL))?;
    domain.wait_for_answers(5)?;
    domain.virsh("destroy")?;
    domain.wait_for_state("shut off")?;
    is_gone("destroyed", LIMIT)?;
    // Also one that was in the PSP when its QEMU was killed, whose result nobody has seen.
    let reached = Firmware::read()?.since(&before).guest_requests;
    let seen = messages()? - messages_before;
    ensure!(seen == reached && reached >= 5, "{seen} counted, {reached} reached the firmware");
    // Under its name, though it is gone.
    let named = counted(&domain, "ok")?;
    ensure!(reached - named <= 1, "{named} counted of the domain, {reached} reached the firmware");
    domain.end()?;
    Ok(Status::Passed)
}
