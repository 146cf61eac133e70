//! # Starting, watching and ending pods

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::manifest::{list, text};
use crate::messages::Empty;
use crate::messages::container::{
    ContainerId, ContainerState, ContainerStatus, ContainerStatusResponse, CreateContainerRequest,
    ExecSyncRequest, ExecSyncResponse, Mount, StopContainerRequest,
};
use crate::messages::image::{ImageRequest, ImageSpec, ImageStatusResponse, PullImageResponse};
use crate::messages::sandbox::{
    PodSandboxConfig, PodSandboxId, PodSandboxStatusResponse, RunPodSandboxRequest,
};
use crate::probe::Probe;
use crate::{Pod, Runtime, volumes};

const ROOT: &str = "/var/lib/kubelet";
const CGROUPS: &str = "/sys/fs/cgroup";
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
            Err(error) => {
                self.stop(running)?;
                Err(error)
            }
        }
    }

    fn sandbox(&self, pod: Pod) -> Result<Running> {
        make_cgroup(&pod.cgroup()?)?;
        fs::create_dir_all(pod.logs()).context("the logs' folder")?;
        project(&pod)?;
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

    fn container(&self, running: &mut Running, container: &Value) -> Result<String> {
        let image = self.ensure_image(text(container, "image")?)?;
        let (pod, folder) = (&running.pod, pod_folder(&running.pod));
        let profiles = Path::new(ROOT).join("seccomp");
        let name = text(container, "name")?;
        let common = common_mounts(pod, name, &running.ip)?;
        let mut config = pod.container(container, &config_maps(&folder), &profiles, &common)?;
        if let Some(spec) = &mut config.image {
            spec.image = image;
        }
        let logs = pod.logs().join(name);
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let request = CreateContainerRequest {
            pod_sandbox_id: running.sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(running.config.clone()),
        };
        let id: ContainerId = self.runtime.call("CreateContainer", request)?;
        let ContainerId { container_id } = id.clone();
        running.containers.push((name.to_owned(), container_id.clone()));
        let _: Empty = self.runtime.call("StartContainer", id)?;
        Ok(container_id)
    }

    /// Pulls an image unless the node has it; returns its id.
    fn ensure_image(&self, image: &str) -> Result<String> {
        let spec = ImageSpec { image: image.into(), user_specified_image: image.into() };
        let request = ImageRequest { image: Some(spec) };
        let answer: ImageStatusResponse =
            self.runtime.call_images("ImageStatus", request.clone())?;
        if let Some(image) = answer.image {
            return Ok(image.id);
        }
        let pulled: PullImageResponse = self.runtime.call_images("PullImage", request)?;
        Ok(pulled.image_ref)
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

    /// Waits until a container has ended by itself; its exit code.
    pub fn wait_for(&self, running: &Running, container: &str) -> Result<i32> {
        Ok(self.wait(running.id(container)?)?.exit_code)
    }

    fn wait(&self, id: &str) -> Result<ContainerStatus> {
        let start = Instant::now();
        loop {
            let status = self.status(id)?;
            if status.state == i32::from(ContainerState::Exited) {
                return Ok(status);
            }
            ensure!(start.elapsed() < LIMIT, "it runs for {LIMIT:?}: {status:?}");
            sleep(Duration::from_millis(50));
        }
    }

    fn status(&self, id: &str) -> Result<ContainerStatus> {
        let id = ContainerId { container_id: id.to_owned() };
        let answer: ContainerStatusResponse = self.runtime.call("ContainerStatus", id)?;
        answer.status.context("no status")
    }

    /// Runs a command in a container, as `kubectl exec`.
    pub fn exec(&self, running: &Running, container: &str, command: &[&str]) -> Result<String> {
        let request = ExecSyncRequest {
            container_id: running.id(container)?.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 60,
        };
        let answer: ExecSyncResponse = self.runtime.call("ExecSync", request)?;
        let errors = String::from_utf8_lossy(&answer.stderr);
        ensure!(answer.exit_code == 0, "{command:?} exits {}: {errors}", answer.exit_code);
        Ok(String::from_utf8(answer.stdout)?)
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
        fs::remove_dir_all(pod_folder(&running.pod)).context("the pod's folder")?;
        let cgroup = format!("{CGROUPS}{}", running.pod.cgroup()?);
        fs::remove_dir(&cgroup).with_context(|| format!("{cgroup} is not empty"))?;
        Ok(codes)
    }
}

impl Running {
    /// What a container has printed.
    pub fn log(&self, container: &str) -> Result<String> {
        let path = self.pod.logs().join(container).join("0.log");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        // Lines `TIME stdout|stderr F|P TEXT`, where P is a part of a line.
        let mut log = String::new();
        for line in text.lines() {
            let mut words = line.splitn(4, ' ').skip(2);
            let (tag, text) = (words.next(), words.next().unwrap_or_default());
            log.push_str(text);
            if tag == Some("F") {
                log.push('\n');
            }
        }
        Ok(log)
    }

    fn id(&self, container: &str) -> Result<&str> {
        let found = self.containers.iter().find(|(name, _)| name == container);
        Ok(&found.with_context(|| format!("no container {container}"))?.1)
    }
}

/// Writes a changed ConfigMap's files for a pod that may run.
pub fn project(pod: &Pod) -> Result<()> {
    let folder = config_maps(&pod_folder(pod));
    for volume in list(&pod.spec, "volumes") {
        let Some(name) = volume["configMap"]["name"].as_str() else { continue };
        let data = pod.config_maps.get(name).with_context(|| format!("no ConfigMap {name}"))?;
        volumes::project(data, &folder.join(text(volume, "name")?))?;
    }
    Ok(())
}

/// What every container of a pod with its own network has.
fn common_mounts(pod: &Pod, container: &str, ip: &str) -> Result<Vec<Mount>> {
    let folder = pod_folder(pod);
    let termination = folder.join("containers").join(container).join("termination-log");
    let hosts = folder.join("etc-hosts");
    fs::create_dir_all(termination.parent().context("no folder")?)?;
    fs::write(&termination, "")?;
    fs::write(&hosts, format!("127.0.0.1\tlocalhost\n{ip}\t{}\n", pod.name))?;
    let mount = |from: PathBuf, to: &str| Mount {
        container_path: to.to_owned(),
        host_path: from.display().to_string(),
        ..Mount::default()
    };
    Ok(vec![mount(hosts, "/etc/hosts"), mount(termination, "/dev/termination-log")])
}

fn pod_folder(pod: &Pod) -> PathBuf {
    Path::new(ROOT).join("pods").join(&pod.uid)
}

fn config_maps(pod_folder: &Path) -> PathBuf {
    pod_folder.join("volumes/kubernetes.io~configmap")
}

fn log_of(running: &Running, container: &Value) -> String {
    let name = container["name"].as_str().unwrap_or_default();
    running.log(name).unwrap_or_else(|error| format!("{error:#}"))
}

/// Makes a pod's cgroup, in which every controller is enabled.
fn make_cgroup(path: &str) -> Result<()> {
    let mut folder = PathBuf::from(CGROUPS);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let all = fs::read_to_string(folder.join("cgroup.controllers"))
            .map_err(|error| anyhow!("{}: {error}: no cgroup v2", folder.display()))?;
        let enable: String = all.split_whitespace().map(|name| format!("+{name} ")).collect();
        fs::write(folder.join("cgroup.subtree_control"), enable.trim_end())
            .with_context(|| format!("controllers of {}", folder.display()))?;
        folder.push(part);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}
