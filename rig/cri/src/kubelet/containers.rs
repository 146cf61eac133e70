//! # Containers of a pod: their images, creation and end, and commands in them

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Kubelet, LIMIT, Running};
use crate::folders;
use crate::manifest::text;
use crate::messages::Empty;
use crate::messages::container::{
    ContainerId, ContainerState, ContainerStatus, ContainerStatusResponse, CreateContainerRequest,
    ExecSyncRequest, ExecSyncResponse,
};
use crate::messages::image::{ImageRequest, ImageSpec, ImageStatusResponse, PullImageResponse};

impl Kubelet {
    pub(super) fn container(&self, running: &mut Running, container: &Value) -> Result<String> {
        let image = self.ensure_image(text(container, "image")?)?;
        let pod = &running.pod;
        let name = text(container, "name")?;
        let common = folders::common_mounts(pod, name, &running.ip)?;
        let mut config =
            pod.container(container, &folders::config_maps(pod), &folders::profiles(), &common)?;
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

    /// Waits until a container has ended by itself; its exit code.
    pub fn wait_for(&self, running: &Running, container: &str) -> Result<i32> {
        Ok(self.wait(running.id(container)?)?.exit_code)
    }

    pub(super) fn wait(&self, id: &str) -> Result<ContainerStatus> {
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

    pub(super) fn status(&self, id: &str) -> Result<ContainerStatus> {
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
}
