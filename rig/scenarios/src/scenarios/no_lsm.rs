//! # A kernel booted without the BPF LSM

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{
    doctor::{self, DoctorReport},
    verification::{ENFORCE, config, verified},
};
use crate::{
    agent::{self, Agent},
    gate::Gate,
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(NEVER_CLAIMED: "verification/no_lsm" = never_claimed,
    "without bpf among the LSMs the agent never claims to enforce");
scenario!(REMEDY: "doctor/no_lsm" = remedy, "doctor says how to add bpf to the LSMs");

pub const GROUP: Group = Group {
    name: "no_lsm",
    // Debian's default, without bpf.
    cmdline: "lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor",
    once: &[NEVER_CLAIMED, REMEDY],
    ..Group::DEFAULT
};

fn never_claimed(_: &Context) -> Result<Status> {
    let (code, line) = agent::refusal(&config("mode = \"enforce\"\nbackend = \"vcpu\"\n")?)?;
    ensure!(code == 1 && line.contains(",bpf on the kernel's command line"), "{code} {line}");
    let gate = Gate::load(&[])?;
    let (code, line) = agent::refusal(&config(ENFORCE)?)?;
    ensure!(code == 1 && line.contains(",bpf on the kernel's command line"), "{code} {line}");
    println!("{line}");
    // It still observes.
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    load::run("--vmm qemu --name watched --type export --count 5")?;
    let metrics = agent.scrape()?;
    let would = metrics.sum("guestreq_decisions_total", &[("decision", "deny"), ("mode", "audit")]);
    ensure!(would == 5.0, "{would} of 5");
    let info = verified(&metrics, "gate", "audit");
    ensure!(info.as_deref() == Some("false"), "verified is {info:?}");
    drop(agent);
    gate.remove()?;
    Ok(Status::Passed)
}

fn remedy(_: &Context) -> Result<Status> {
    fs::write(doctor::CONFIG, ENFORCE).context(doctor::CONFIG)?;
    let report = DoctorReport::get()?;
    report.exits(1)?;
    report.says("lsm_bpf", "fail", ",bpf on the kernel's command line")?;
    fs::write(doctor::CONFIG, "mode = \"audit\"\n").context(doctor::CONFIG)?;
    DoctorReport::get()?.says("lsm_bpf", "warn", "only enforcement needs it")?;
    Ok(Status::Passed)
}
