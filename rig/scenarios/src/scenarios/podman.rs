//! # The DaemonSet, played by podman
//!
//! A second opinion on the manifest, and on seccomp: podman filters system calls by the profile and
//! the library that CRI-O has, and starts containers with CRI-O's default runtime, crun.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::daemonset::decided;
use crate::{
    agent::{cli, get},
    exposition::Metrics,
    gate::Gate,
    host::{Firmware, wait_until},
    load,
    podman::Podman,
    scenario::{Context, Status, scenario},
};

scenario!(OWN_PROFILE: "podman/own_profile" = own_profile,
    "podman starts the DaemonSet with its own seccomp profile, which enforces and counts exactly");
scenario!(DEFAULT_PROFILE: "podman/default_profile" = default_profile,
    "under CRI-O's complete seccomp profile the DaemonSet stays up and says what is refused");

const TIMEOUT: Duration = Duration::from_secs(60);
/// As podman names a DaemonSet's container.
const AGENT: &str = "guestreq-pod-agent";

fn own_profile(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let podman = Podman::new()?;
    podman.play("localhost")?;
    let ready = wait_until("the agent is ready", TIMEOUT, || {
        Ok(get("/readyz").is_ok_and(|(status, _)| status == 200))
    });
    ready.map_err(|error| error.context(podman.log(AGENT).unwrap_or_default()))?;
    let before = Firmware::read()?;
    load::run("--vms 3 --processes --vmm qemu --name web --count 20 --type report,key")?;
    let answered = Firmware::read()?.since(&before).guest_requests;
    let counted = Metrics::parse(&get("/metrics")?.1).sum("guestreq_requests_total", &[]) as u64;
    ensure!(counted == answered && answered >= 60, "{counted} of {answered}");
    decided("podman", false)?;
    let log = podman.log(AGENT)?;
    ensure!(!log.contains("WARN"), "it warns: {log}");
    podman.down()?;
    decided("without-podman", false)?;
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Status::Passed)
}

fn default_profile(_: &Context) -> Result<Status> {
    let podman = Podman::new()?;
    podman.play("enforce")?;
    let mut last = String::new();
    let says = wait_until("it says what is refused", TIMEOUT, || {
        let Ok((status, body)) = get("/readyz") else { return Ok(false) };
        last = body;
        Ok(status == 503 && last.contains("a seccomp profile refuses perf_event_open(2)"))
    });
    says.map_err(|error| error.context(format!("{last}: {:?}", podman.log(AGENT))))?;
    println!("{}", last.trim());
    let (status, _) = get("/healthz")?;
    ensure!(status == 200, "/healthz says {status}: it would be restarted");
    podman.down()?;
    cli(&["detach"])?;
    Ok(Status::Passed)
}
