//! # SNP capacity
//!
//! The kernel's own accounting of ASIDs, as the agent and doctor report it.

use anyhow::{Context as _, Result, ensure};

use super::doctor::DoctorReport;
use crate::{
    agent::{Agent, cli, json},
    exposition::Metrics,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(ASIDS: "capacity/asids" = asids, "each VM takes one ASID and returns it, in metrics, psp and doctor");

const VMS: u64 = 7;

/// ASIDs in use, and all.
type Asids = (u64, u64);

fn asids(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = reported(&agent)?;
    let (used, total) = before;
    ensure!(total > used + VMS, "{before:?}");

    let load = load::start(&format!("--vms {VMS} --count 1 --hold"))?;
    agent.wait_until("every VM runs", |metrics| {
        metrics.sum("guestreq_requests_total", &[]) >= VMS as f64
    })?;
    let during = reported(&agent)?;
    ensure!(during == (used + VMS, total), "{before:?}, with {VMS} more VMs {during:?}");

    load.stop()?;
    // KVM frees a VM after its process has exited.
    agent.wait_until("the ASIDs are returned", |metrics| {
        scraped(metrics).is_ok_and(|asids| asids == before)
    })?;
    ensure!(reported(&agent)? == before, "{before:?}, then {:?}", reported(&agent)?);
    agent.stop()?;
    Ok(Status::Passed)
}

/// As metrics, psp and doctor agree.
fn reported(agent: &Agent) -> Result<Asids> {
    let asids = scraped(&agent.scrape()?)?;
    let psp = json("psp")?;
    let state = |name: &str| psp["asids"][name].as_u64().with_context(|| format!("{psp}"));
    let by_psp = (state("used")?, state("used")? + state("available")?);
    ensure!(by_psp == asids, "psp has {by_psp:?}, metrics {asids:?}");
    let text = format!("{} of {} ASIDs in use", asids.0, asids.1);
    ensure!(cli(&["psp"])?.contains(&format!("ASIDs        {} of {} in use", asids.0, asids.1)));
    DoctorReport::of_enforcing_host()?.says("asids", "pass", &text)?;
    Ok(asids)
}

fn scraped(metrics: &Metrics) -> Result<Asids> {
    let of = |state: &str| {
        let series = [("state", state)];
        let sample = metrics.select("guestreq_asids", &series).next().map(|it| it.value as u64);
        sample.with_context(|| format!("no guestreq_asids of state {state}"))
    };
    Ok((of("used")?, of("used")? + of("available")?))
}
