//! # A pod without a prerequisite
//!
//! It stays up, is not ready, and says what is missing.

use std::fs;

use anyhow::{Result, ensure};

use super::{POD_TIMEOUT, paranoid};
use crate::{
    agent::{self, Agent, cli, get},
    host::{self, wait_until},
    pod::Pod,
    scenario::{Context, Status, scenario},
};

scenario!(ONE_CAPABILITY: "daemonset/one_capability" = one_capability,
    "with one capability missing the pod says which");
scenario!(night THE_NODE: "daemonset/node" = the_node,
    "on a node that lacks something the pod stays up and says what");

fn one_capability(_: &Context) -> Result<Status> {
    let granted = Pod::agent()?.capabilities();
    ensure!(granted.len() >= 4, "{granted:?}");
    for capability in granted {
        let agent = Agent::spawn_command(&mut Pod::agent()?.without(&capability).command()?)?;
        let name = format!("CAP_{capability}");
        wait_until(&format!("{name} is missed"), POD_TIMEOUT, || Ok(agent::log().contains(&name)))?;
        let log = agent::log();
        let line = log.lines().find(|line| line.contains(&name)).unwrap_or_default();
        println!("without {name}: {line}");
        drop(agent);
        cli(&["detach"])?;
    }
    Ok(Status::Passed)
}

/// Starts the pod and waits until it is not ready for this reason.
pub(super) fn says(pod: &Pod, reason: &str) -> Result<()> {
    let agent = Agent::spawn_command(&mut pod.command()?)?;
    let mut last = String::new();
    let waited = wait_until(&format!("it says {reason:?}"), POD_TIMEOUT, || {
        let answer = get("/readyz").ok();
        last = answer.as_ref().map_or_else(agent::log, |(_, body)| body.clone());
        Ok(answer.is_some_and(|(status, body)| status == 503 && body.contains(reason)))
    });
    waited.map_err(|error| error.context(last.clone()))?;
    println!("{}", last.trim());
    let (status, _) = get("/healthz")?;
    ensure!(status == 200, "/healthz says {status}: it would be restarted");
    ensure!(agent.stop()?.success(), "it did not stop cleanly");
    cli(&["detach"])?;
    Ok(())
}

fn the_node(_: &Context) -> Result<Status> {
    says(&Pod::agent()?.read_only("bpffs")?, "mounted read-only")?;
    paranoid(3)?;
    let reported = says(&Pod::agent()?, "perf_event_paranoid=2");
    paranoid(2)?;
    reported?;
    // Last, as it leaves no SNP host.
    host::rmmod("kvm-amd")?;
    says(&Pod::agent()?, "modprobe kvm_amd")?;
    ensure!(fs::symlink_metadata("/sys/fs/bpf/guestreq").is_err(), "pins are left");
    Ok(Status::Passed)
}
