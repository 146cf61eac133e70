//! # Starting, watching and ending pods

mod containers;

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::manifest::{list, text};
use crate::messages::Empty;
use crate::messages::container::StopContainerRequest;
use crate::messages::sandbox::{
    PodSandboxConfig, PodSandboxId, PodSandboxStatusResponse, RunPodSandboxRequest,
};
use crate::probe::Probe;
use crate::{Pod, Runtime, folders};

/// How long a container may take that must end by itself, on an emulated machine.
const LIMIT: Duration = Duration::from_secs(120);

pub struct Kubelet {
    pub runtime: Runtime,
}

/// A pod with its containers; it stays if this is dropped.
pub struct Running {
    pub pod: Pod,
    pub ip: String,
    sandbox: String,
    config: PodSandboxConfig,
    /// Ids by name.
    containers: Vec<(String, String)>,
}

impl Kubelet {
    pub fn new(runtime: Runtime) -> Kubelet {
        Kubelet { runtime }
    }

    /// Starts a pod as far as its containers run and have been seen to start. What is left of a pod
    /// that cannot be started is removed.
    pub fn start(&self, pod: Pod) -> Result<Running> {
        let mut running = self.sandbox(pod)?;
        match self.containers(&mut running) {
            Ok(()) => Ok(running),
            Err(error) => match self.stop(running) {
                Ok(_) => Err(error),
                Err(left) => Err(error.context(format!("and it cannot be removed: {left:#}"))),
            },
        }
    }

    fn sandbox(&self, pod: Pod) -> Result<Running> {
        folders::make_cgroup(&pod.cgroup()?)?;
        fs::create_dir_all(pod.logs()).context("the logs' folder")?;
        folders::project(&pod)?;
        let config = pod.sandbox()?;
        let request =
            RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        let PodSandboxId { pod_sandbox_id: sandbox } =
            self.runtime.call("RunPodSandbox", request)?;
        let id = PodSandboxId { pod_sandbox_id: sandbox.clone() };
        let answer: PodSandboxStatusResponse = self.runtime.call("PodSandboxStatus", id)?;
        let network = answer.status.and_then(|status| status.network);
        let ip = network.context("a sandbox without a network")?.ip;
        Ok(Running { pod, ip, sandbox, config, containers: Vec::new() })
    }

    fn containers(&self, running: &mut Running) -> Result<()> {
        let spec = running.pod.spec.clone();
        for container in list(&spec, "initContainers") {
            let id = self.container(running, container)?;
            let status = self.wait(&id)?;
            let name = text(container, "name")?;
            let log = running.log(name)?;
            ensure!(status.exit_code == 0, "{name} has ended ({}): {log}", status.exit_code);
        }
        for container in list(&spec, "containers") {
            let id = self.container(running, container)?;
            if let Some(probe) = Probe::of(container, "startupProbe")? {
                let started = probe.until_success(&running.ip);
                let status = || format!("{:?}: {}", self.status(&id), log_of(running, container));
                started.with_context(status)?;
            }
        }
        Ok(())
    }

    /// Waits until a pod is ready by its readiness probes.
    pub fn wait_until_ready(&self, running: &Running) -> Result<()> {
        for container in list(&running.pod.spec, "containers") {
            if let Some(probe) = Probe::of(container, "readinessProbe")? {
                let ready = probe.until(&running.ip, LIMIT);
                ready.with_context(|| log_of(running, container))?;
            }
        }
        Ok(())
    }

    /// One probe of each kind of each container; fails with the reason of the first that fails.
    pub fn probe(&self, running: &Running, kind: &str) -> Result<()> {
        for container in list(&running.pod.spec, "containers") {
            if let Some(probe) = Probe::of(container, kind)? {
                probe.once(&running.ip)?;
            }
        }
        Ok(())
    }

    /// Ends a pod as when it is deleted, within its grace period, and removes it. The exit codes of
    /// its containers by name.
    pub fn stop(&self, running: Running) -> Result<Vec<(String, i32)>> {
        let mut codes = Vec::new();
        for (name, container_id) in &running.containers {
            let timeout = running.pod.grace_period();
            let request = StopContainerRequest { container_id: container_id.clone(), timeout };
            let _: Empty = self.runtime.call("StopContainer", request)?;
            codes.push((name.clone(), self.status(container_id)?.exit_code));
        }
        let id = PodSandboxId { pod_sandbox_id: running.sandbox.clone() };
        let _: Empty = self.runtime.call("StopPodSandbox", id.clone())?;
        // Removes its containers, too.
        let _: Empty = self.runtime.call("RemovePodSandbox", id)?;
        folders::remove(&running.pod)?;
        Ok(codes)
    }
}

impl Running {
    /// What a container has printed.
    pub fn log(&self, container: &str) -> Result<String> {
        folders::log(&self.pod, container)
    }

    fn id(&self, container: &str) -> Result<&str> {
        let found = self.containers.iter().find(|(name, _)| name == container);
        Ok(&found.with_context(|| format!("no container {container}"))?.1)
    }
}

fn log_of(running: &Running, container: &Value) -> String {
    let name = container["name"].as_str().unwrap_or_default();
    running.log(name).unwrap_or_else(|error| format!("{error:#}"))
}
