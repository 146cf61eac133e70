//! # Domains of libvirt, on a complete Debian host
//!
//! The agent is the package's service; only the gate is the one that xtask built, as DKMS needs
//! minutes under emulation (group `debian`).

mod lifecycle;

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::exact;
use crate::{
    agent::{self, cli, json, scrape},
    debian::{self, LIMIT, OLD, output},
    flash::Script,
    host::{Firmware, wait_until},
    libvirt::{Domain, permit_sev, version},
    scenario::{Context, Group, Needs, Status, scenario},
};

scenario!(NAMED: "libvirt/named" = named,
    "domains are counted under their names and UUIDs, whatever the names contain");
scenario!(CONFINED: "libvirt/confined" = confined,
    "a domain in machined's scope and AppArmor's svirt profile is observed and named");
scenario!(REFUSED: "libvirt/refused" = refused,
    "the gate denies and limits a domain by its name, and libvirt does not notice");

pub const GROUP: Group = Group {
    name: "libvirt",
    memory_mib: 2048,
    needs: Needs::Debian,
    long: true,
    prepare,
    scenarios: &[
        NAMED,
        CONFINED,
        REFUSED,
        lifecycle::SUSPENDED,
        lifecycle::RESET,
        lifecycle::DESTROYED,
    ],
    ..Group::DEFAULT
};

const CONFIG: &str = "/etc/guestreq/config.toml";
const INTERVAL: Duration = Duration::from_millis(200);
/// What AppArmor's helper accepts.
const CONFINED_NAME: &str = "Büro 1; it's 100 % <ok> 日本";
/// What a shell, a list of options and a metric's label each treat specially.
const STRANGE: &str = r#"Büro "1", it's 100 % <ok> \ 日本"#;

fn prepare() -> Result<()> {
    debian::prepare()?;
    permit_sev()?;
    output("insmod", &[debian::GATE])?;
    let package = format!("{OLD}/guestreq_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    output("apt-get", &["install", "--yes", &package])?;
    fs::write(CONFIG, "mode = \"enforce\"\nallow = [\"report\"]\n").context(CONFIG)?;
    output("systemctl", &["reload", "guestreq.service"])?;
    wait_until("the agent enforces", LIMIT, || {
        let labels = [("verified", "true"), ("mode", "enforce")];
        let ready = agent::get("/readyz").is_ok_and(|(status, _)| status == 200);
        Ok(ready && scrape()?.select("guestreq_enforcement_info", &labels).next().is_some())
    })?;
    println!("{}", version()?);
    Ok(())
}

/// What `guestreq vms` shows of a domain.
fn shown(domain: &Domain) -> Result<Value> {
    let vms = json("vms")?;
    let mut all = vms["vms"].as_array().into_iter().flatten();
    let vm = all.find(|vm| vm["uuid"] == domain.uuid.as_str());
    Ok(vm.with_context(|| format!("no {} in {vms}", domain.uuid))?.clone())
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
    sleep(INTERVAL);
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

fn confined(_: &Context) -> Result<Status> {
    let domain = Domain::start(CONFINED_NAME, &Script::reports(INTERVAL))?;
    domain.wait_for_answers(3)?;
    let pid = domain.pid()?;
    let of_process = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).context(path)
    };
    let profile = of_process("attr/apparmor/current")?;
    let expected = format!("libvirt-{} (enforce)", domain.uuid);
    ensure!(profile.trim() == expected, "AppArmor: {profile}");
    let cgroup = of_process("cgroup")?;
    ensure!(cgroup.contains("/machine.slice/machine-qemu\\x2d"), "cgroup {cgroup}");
    let machines = output("machinectl", &["list", "--no-legend"])?;
    ensure!(machines.contains("qemu"), "machines: {machines}");
    println!("{cgroup}{machines}");
    let vm = shown(&domain)?;
    ensure!(vm["vm"] == CONFINED_NAME, "{vm}");
    domain.end()?;
    Ok(Status::Passed)
}

fn refused(_: &Context) -> Result<Status> {
    let denied = Domain::start_unconfined(STRANGE, &Script::reports(INTERVAL))?;
    let limited = Domain::start("limited", &Script::reports(INTERVAL))?;
    denied.wait_for_answers(2)?;
    limited.wait_for_answers(2)?;
    cli(&["policy", "deny", "report", "--vm", STRANGE, "--yes"])?;
    cli(&["limit", "set", "--vm", "limited", "--rate", "1/h", "--burst", "1", "--force"])?;
    denied.wait_for("been denied", |letters| letters.ends_with("III"))?;
    limited.wait_for("been BUSY", |letters| letters.ends_with("BBB"))?;
    for domain in [&denied, &limited] {
        let state = domain.state()?;
        ensure!(state == "running", "{} is {state}", domain.name);
    }
    cli(&["policy", "allow", "report", "--vm", STRANGE])?;
    cli(&["limit", "clear", "--vm", "limited"])?;
    denied.wait_for_answers(2)?;
    limited.wait_for_answers(2)?;
    for (domain, result, letter) in [(denied, "denied", 'I'), (limited, "busy", 'B')] {
        domain.virsh("suspend")?;
        // What was decided gets its letter, unless the vCPU stopped between.
        sleep(INTERVAL * 2);
        let (counted, read) = (counted(&domain, result)?, domain.count(letter)?);
        ensure!(counted - read <= 1, "{}: {counted} {result}, {read} read", domain.name);
        domain.end()?;
    }
    cli(&["policy", "clear", "--vm", STRANGE])?;
    Ok(Status::Passed)
}
