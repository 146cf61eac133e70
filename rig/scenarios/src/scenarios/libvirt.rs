//! # Domains of libvirt, on a complete Debian host
//!
//! The agent is the package's service; only the gate is the one that xtask built, as DKMS needs
//! minutes under emulation (group `debian`).

mod apparmor;
mod lifecycle;
mod vcpu;

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::exact;
use crate::{
    agent::{self, cli, find_vm, scrape},
    debian::{self, LIMIT, OLD, output},
    flash::Script,
    host::{Firmware, wait_until},
    libvirt::{Domain, permit_sev, version},
    scenario::{Context, Group, Needs, Status, scenario},
};

scenario!(NAMED: "libvirt/named" = named,
    "domains are counted under their names and UUIDs, whatever the names contain");
scenario!(REFUSED: "libvirt/refused" = refused,
    "the gate denies and limits domains by name and UUID as their guests read, and libvirt does not notice");

pub const GROUP: Group = Group {
    name: "libvirt",
    memory_mib: 2048,
    needs: Needs::Debian,
    long: true,
    prepare,
    scenarios: &[
        NAMED,
        apparmor::CONFINED,
        apparmor::SHIPPED,
        REFUSED,
        lifecycle::SUSPENDED,
        lifecycle::RESET,
        lifecycle::DESTROYED,
        vcpu::HELD,
        vcpu::STOPPED,
    ],
    ..Group::DEFAULT
};

const SERVICE: &str = "guestreq.service";
const CONFIG: &str = "/etc/guestreq/config.toml";
const INTERVAL: Duration = Duration::from_millis(200);
/// The strangest that libvirt's helper for AppArmor accepts.
const CONFINED_NAME: &str = "Büro 1; it's 100 % <ok> 日本";
/// What a shell, a list of options and a metric's label each treat specially.
const STRANGE: &str = r#"Büro "1", it's 100 % <ok> \ 日本"#;
/// QEMU doubles commas, and `=` begins an option's value.
const STRANGER: &str = r#"a,,b "c", uuid=d, it's ü"#;

fn prepare() -> Result<()> {
    debian::prepare()?;
    permit_sev()?;
    output("insmod", &[debian::GATE])?;
    let package = format!("{OLD}/guestreq_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    output("apt-get", &["install", "--yes", &package])?;
    reload("")?;
    println!("{}", version()?);
    Ok(())
}

/// Lets the service enforce with these lines of configuration.
fn reload(lines: &str) -> Result<()> {
    configure(lines)?;
    output("systemctl", &["reload", SERVICE])?;
    enforces("gate")
}

fn configure(lines: &str) -> Result<()> {
    let text = format!("mode = \"enforce\"\nallow = [\"report\"]\n{lines}");
    fs::write(CONFIG, text).context(CONFIG)
}

/// Waits until the agent has verified that it enforces.
fn enforces(backend: &str) -> Result<()> {
    wait_until("the agent enforces", LIMIT, || {
        let labels = [("verified", "true"), ("mode", "enforce"), ("backend", backend)];
        let ready = agent::get("/readyz").is_ok_and(|(status, _)| status == 200);
        Ok(ready && scrape()?.select("guestreq_enforcement_info", &labels).next().is_some())
    })
}

/// What `guestreq vms` shows of a running domain. The one that ran before under its UUID is shown,
/// too, as exited.
fn shown(domain: &Domain) -> Result<Value> {
    let vm = find_vm(|vm| vm["uuid"] == domain.uuid.as_str() && vm["running"] == true)?;
    vm.with_context(|| format!("guestreq vms shows no running {}", domain.uuid))
}

fn counted(domain: &Domain, result: &str) -> Result<u64> {
    let labels = [("vm", domain.name.as_str()), ("result", result)];
    Ok(scrape()?.sum("guestreq_requests_total", &labels) as u64)
}

fn named(_: &Context) -> Result<Status> {
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL);
    let domains = [
        Domain::start("web-1", &script)?,
        Domain::start(CONFINED_NAME, &script)?,
        Domain::start_unconfined(STRANGE, &script)?,
    ];
    for domain in &domains {
        domain.wait_for_answers(10)?;
        domain.virsh("suspend")?;
    }
    // What is in the PSP is answered, and virtlogd writes what it has read.
    sleep(INTERVAL * 3);
    for domain in &domains {
        let vm = shown(domain)?;
        ensure!(vm["vm"] == domain.name.as_str() && vm["vmm"] == "qemu", "{vm}");
        ensure!(vm["pid"] == domain.pid()?, "{vm}");
        let (counted, read) = (counted(domain, "ok")?, domain.count('.')?);
        ensure!(counted - read <= 1, "{}: {counted} counted, {read} read", domain.name);
    }
    exact(&Firmware::read()?.since(&before), &scrape()?, "nothing")?;
    println!("{}", cli(&["vms"])?);
    domains.into_iter().try_for_each(Domain::end)?;
    Ok(Status::Passed)
}

fn refused(_: &Context) -> Result<Status> {
    let denied = Domain::start_unconfined(STRANGER, &Script::reports(INTERVAL))?;
    let limited = Domain::start("limited", &Script::reports(INTERVAL))?;
    denied.wait_for_answers(2)?;
    limited.wait_for_answers(2)?;
    // Suspended, they send nothing between the two counts.
    let both = [&denied, &limited];
    both.iter().try_for_each(|domain| domain.virsh("suspend").map(drop))?;
    sleep(INTERVAL * 3);
    let before = Firmware::read()?;
    let earlier = counted(&denied, "ok")? + counted(&limited, "ok")?;
    both.iter().try_for_each(|domain| domain.virsh("resume").map(drop))?;
    // In a literal of several lines only what ends it is special.
    reload(&format!(
        "[[vm]]\nmatch = {{ name = '''{STRANGER}''' }}\nallow = [\"key\"]\n\
         [[vm]]\nmatch = {{ uuid = \"{}\" }}\n\
         limit = {{ rate = \"1/h\", burst = 1, force = true }}\n",
        limited.uuid
    ))?;
    denied.wait_for("been denied", |letters| letters.ends_with("III"))?;
    limited.wait_for("been BUSY", |letters| letters.ends_with("BBB"))?;
    for domain in [&denied, &limited] {
        let reason = domain.reason()?;
        ensure!(reason == "running (unpaused)", "{} is {reason}", domain.name);
        domain.virsh("suspend")?;
    }
    // What is in the PSP is answered, and virtlogd writes what it has read.
    sleep(INTERVAL * 3);
    let mut admitted = 0;
    for domain in [&denied, &limited] {
        admitted += counted(domain, "ok")?;
        for (letter, result) in [('.', "ok"), ('I', "denied"), ('B', "busy")] {
            let (counted, read) = (counted(domain, result)?, domain.count(letter)?);
            // It may have been suspended between an answer and its letter.
            let differ = counted.abs_diff(read);
            ensure!(differ <= 1, "{}: {counted} {result}, its guest read {read}", domain.name);
        }
        println!("{}: {}", domain.name, domain.letters()?);
        domain.virsh("resume")?;
    }
    let reached = Firmware::read()?.since(&before).guest_requests;
    // Both domains may have had a request in the PSP when it was read.
    let differ = reached.abs_diff(admitted - earlier);
    ensure!(differ <= 2, "{reached} reached the firmware, {admitted} - {earlier} were admitted");
    // An override wins over the configuration.
    cli(&["policy", "allow", "report", "--vm", STRANGER])?;
    cli(&["limit", "set", "--vm", &limited.uuid, "--off"])?;
    denied.wait_for_answers(3)?;
    limited.wait_for_answers(3)?;
    println!("{}", cli(&["policy", "show"])?);
    cli(&["policy", "clear", "--vm", STRANGER, "--yes"])?;
    denied.wait_for("been denied again", |letters| letters.ends_with("III"))?;
    cli(&["limit", "clear", "--vm", &limited.uuid])?;
    for domain in [denied, limited] {
        domain.end()?;
    }
    reload("")?;
    Ok(Status::Passed)
}
