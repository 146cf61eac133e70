//! # A container of a pod, in the runtime's terms

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;

use super::Pod;
use crate::manifest::{list, only, text, texts};
use crate::messages::container::{
    ContainerConfig, ContainerMetadata, KeyValue, LinuxContainerConfig, Mount,
};
use crate::messages::image::ImageSpec;
use crate::{resources, security, volumes};

const CONTAINER: [&str; 13] = [
    "name",
    "image",
    "command",
    "args",
    "env",
    "ports",
    "securityContext",
    "resources",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "volumeMounts",
    "terminationMessagePolicy",
];

/// Fails if it has what this kubelet does not know.
pub fn check(container: &Value) -> Result<()> {
    only(container, "a container", &CONTAINER)?;
    security::check(container)
}

impl Pod {
    /// A container, with the folder of this pod's ConfigMaps, that of seccomp profiles, and what
    /// every container has mounted.
    pub fn container(
        &self,
        container: &Value,
        folder: &Path,
        profiles: &Path,
        common: &[Mount],
    ) -> Result<ContainerConfig> {
        let name = text(container, "name")?;
        let image = text(container, "image")?.to_owned();
        let mut mounts = volumes::mounts(&self.spec, container, folder)?;
        mounts.extend_from_slice(common);
        let mut labels = self.labels();
        labels.insert("io.kubernetes.container.name".into(), name.into());
        Ok(ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(ImageSpec { user_specified_image: image.clone(), image }),
            command: texts(container, "command")?,
            args: texts(container, "args")?,
            working_dir: String::new(),
            envs: list(container, "env").map(|env| self.variable(env)).collect::<Result<_>>()?,
            mounts,
            devices: self.devices.iter().map(|path| resources::device(path)).collect(),
            labels,
            log_path: format!("{name}/0.log"),
            linux: Some(LinuxContainerConfig {
                resources: Some(resources::of(&container["resources"])?),
                security_context: Some(security::of_container(&self.spec, container, profiles)?),
            }),
        })
    }

    fn variable(&self, env: &Value) -> Result<KeyValue> {
        only(env, "a variable", &["name", "value", "valueFrom"])?;
        let value = match env["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            None if env["valueFrom"].is_null() => text(env, "value")?,
            Some("metadata.name") => &self.name,
            Some("metadata.namespace") => &self.namespace,
            Some("metadata.uid") => &self.uid,
            _ => bail!("a variable from elsewhere: {env}"),
        };
        Ok(KeyValue { key: text(env, "name")?.to_owned(), value: value.to_owned() })
    }
}
