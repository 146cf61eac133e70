//! # VM names

use anyhow::{Context as _, Result, ensure};

use super::{assert_exact, losses};
use crate::{
    agent::{self, Agent},
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(VMMS: "vm_names/vmms" = vmms, "VMs have the names that their VMMs gave them");
scenario!(OTHER_NAME: "vm_names/renamed_vmm" = other_name,
    "a VMM under another program name is recognized, and policy explain says how");
scenario!(SAME_NAME: "vm_names/duplicates" = same_name,
    "two VMs of the same name never break a scrape");
scenario!(night RETENTION: "vm_names/retention" = retention,
    "an exited VM's series stay for the configured time, then its slot is reused");

fn vmms(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    for vmm in ["qemu", "cloud-hypervisor", "firecracker"] {
        load::run(&format!("--vmm {vmm} --name my-{vmm} --count 1"))?;
    }
    let nameless = load::start("--count 1 --hold --name ignored")?;
    let pid = nameless.pid();
    nameless.finish()?;
    let metrics = agent.scrape()?;
    for vmm in ["qemu", "cloud-hypervisor", "firecracker"] {
        let name = format!("my-{vmm}");
        let labels = [("vm", name.as_str()), ("name", name.as_str()), ("vmm", vmm)];
        let found = metrics.select("guestreq_vm_info", &labels).count();
        let all = metrics.values("guestreq_vm_info", "vm");
        ensure!(found == 1, "{name}: {found} of {all:?}");
    }
    let uuid = metrics
        .select("guestreq_vm_info", &[("vmm", "qemu")])
        .next()
        .and_then(|sample| sample.labels.get("uuid").cloned())
        .context("no uuid")?;
    ensure!(uuid.len() == 36, "uuid {uuid:?}");
    let expected = format!("snpload-{pid}");
    let all = metrics.values("guestreq_vm_info", "vm");
    ensure!(all.contains(&expected), "{expected} is not among {all:?}");
    Ok(Status::Passed)
}

/// As Proxmox VE starts it: /usr/bin/kvm, with its UUID in an SMBIOS table.
fn other_name(_: &Context) -> Result<Status> {
    const CONFIG: &str = "[[vm]]\nmatch = { name = \"web\", vmm = \"qemu\" }\nlimit = \"off\"\n\
                          [[vm]]\nmatch = { name = \"db\" }\nmode = \"observe\"\n";
    let mut agent = Agent::with_config(CONFIG)?;
    let load = load::start("--vmm kvm --name web --count 3 --hold")?;
    agent.wait_until("it is named", |metrics| {
        let mut of_web = metrics.select("guestreq_vm_info", &[("vm", "web"), ("vmm", "qemu")]);
        of_web.any(|sample| sample.labels.get("uuid").is_some_and(|uuid| uuid.len() == 36))
    })?;
    let pid = agent::vm_named("web")?["pid"].as_u64().context("a pid")?.to_string();
    let explain = |of: &[&str]| {
        let words = [&["policy", "explain", "-o", "json"], of].concat();
        let answer: serde_json::Value = serde_json::from_str(&agent::cli(&words)?)?;
        let identity = &answer["identity"];
        ensure!(identity["name"] == "web" && identity["vmm"] == "qemu", "{answer}");
        let reported = |field: &str, from: &str, text: &str| {
            let evidence = answer["evidence"].as_array().into_iter().flatten();
            evidence.into_iter().any(|it| {
                let says = it["text"].as_str().is_some_and(|it| it.starts_with(text));
                it["field"] == field && it["from"] == from && says
            })
        };
        ensure!(reported("vmm", "argument", "/usr/bin/kvm"), "{answer}");
        ensure!(reported("name", "argument", "-name web"), "{answer}");
        ensure!(reported("uuid", "argument", "-smbios type=1,uuid="), "{answer}");
        ensure!(answer["now"].is_null(), "{answer}");
        Ok(answer)
    };
    for of in [["--vm", "web"], ["--pid", pid.as_str()]] {
        let answer = explain(&of)?;
        ensure!(answer["by"] == "agent", "{answer}");
        ensure!(answer["rules"][0]["holds"][0] == "limit", "{answer}");
        ensure!(answer["rules"][1]["why"] == "its name is \"web\"", "{answer}");
    }
    let table = agent::cli(&["policy", "explain", "--vm", "web"])?;
    ensure!(table.contains("argument: -name web"), "{table}");
    agent.stop()?;
    for config in [&[][..], &["--config", "/tmp/guestreq.toml"]] {
        let answer = explain(&[&["--pid", &pid], config].concat())?;
        ensure!(answer["by"] == "files", "{answer}");
        let rules = answer["rules"].as_array().map_or(0, Vec::len);
        ensure!(rules == config.len(), "{answer}");
    }
    load.finish()?;
    Ok(Status::Passed)
}

fn same_name(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run(
        "--vms 3 --vmm qemu --same-name --name twin --count 200 --rate 200 --start-together",
    )?;
    assert_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    let mut labels = metrics.values("guestreq_vm_info", "vm");
    labels.sort();
    labels.dedup();
    ensure!(labels.len() == 3, "{labels:?}");
    ensure!(labels[0] == "twin" && labels[1].starts_with("twin@"), "{labels:?}");
    // After they have exited the name is free again.
    load::run("--vmm qemu --name twin --count 3")?;
    let metrics = agent.scrape()?;
    let fresh = metrics.sum("guestreq_requests_total", &[("vm", "twin")]);
    ensure!(fresh == 3.0, "the new twin made {fresh} requests");
    Ok(Status::Passed)
}

/// More VMs than there is room for, one after the other.
fn retention(_: &Context) -> Result<Status> {
    let mut agent = Agent::with_config("max_vms = 3\nkeep_exited_vms = \"3s\"\n")?;
    let before = Firmware::read()?;
    for i in 0..5 {
        load::run(&format!("--vmm qemu --name brief-{i} --count 4"))?;
        let vm = format!("brief-{i}");
        let metrics = agent.scrape()?;
        let count = metrics.sum("guestreq_requests_total", &[("vm", &vm)]);
        ensure!(count == 4.0, "{vm} made {count} requests");
        agent.wait_until("its series have ended", |metrics| metrics.series_of_vm(&vm) == 0)?;
    }
    let metrics = agent.scrape()?;
    let total = metrics.sum("guestreq_messages_total", &[]);
    let truth = Firmware::read()?.since(&before).guest_requests as f64;
    ensure!(total == truth && total == 20.0, "host total {total}, the firmware {truth}");
    ensure!(losses(&metrics).is_empty(), "lost: {:?}", losses(&metrics));
    Ok(Status::Passed)
}
