//! # A pod on this host
//!
//! The manifests as kubectl renders them, run by runc as containerd or CRI-O would: user,
//! capabilities, root, seccomp, mounts and arguments come from the manifest. The image is its one
//! file. Unlike in a cluster there is no network namespace.

mod oci;
mod seccomp;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
pub use seccomp::Runtime;
use serde_json::Value;

use crate::host::run_command;

/// The folder of pods' files.
const ROOT: &str = "/tmp/pods";

/// A container of a pod, not yet started.
pub struct Pod {
    template: Value,
    container: Value,
    /// The ConfigMap's data; at first the manifest's.
    config: Value,
    name: String,
    runtime: Runtime,
}

impl Pod {
    /// A container of an object in a rendered overlay.
    pub fn from_manifest(overlay: &str, kind: &str, container: &str) -> Result<Pod> {
        let path = format!("/lib/{overlay}.json");
        let objects: Vec<Value> =
            serde_json::from_slice(&fs::read(&path).context(path.clone())?).context(path)?;
        let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).cloned();
        let template = find(kind).context("no such object")?["spec"]["template"]["spec"].clone();
        let all = ["initContainers", "containers"].map(|list| template[list].as_array().cloned());
        let mut all = all.into_iter().flatten().flatten();
        let found = all.find(|it| it["name"] == container).context("no such container")?;
        let config = find("ConfigMap").map_or(Value::Null, |map| map["data"].clone());
        let (name, runtime) = (format!("{overlay}-{container}"), Runtime::Containerd2);
        Ok(Pod { template, container: found, config, name, runtime })
    }

    pub fn agent() -> Result<Pod> {
        Pod::from_manifest("enforce", "DaemonSet", "agent")
    }

    /// The capabilities that the manifest adds.
    pub fn capabilities(&self) -> Vec<String> {
        let added = self.container["securityContext"]["capabilities"]["add"].as_array();
        added.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    }

    /// Without one capability.
    pub fn without(mut self, capability: &str) -> Pod {
        self.name = format!("{}-without-{capability}", self.name);
        let added = self.capabilities().into_iter().filter(|name| name != capability).collect();
        self.container["securityContext"]["capabilities"]["add"] = added;
        self
    }

    /// With a volume mounted read-only.
    pub fn read_only(mut self, volume: &str) -> Result<Pod> {
        self.name = format!("{}-read-only-{volume}", self.name);
        let mounts = self.container["volumeMounts"].as_array_mut().context("no mounts")?;
        let mount = mounts.iter_mut().find(|mount| mount["name"] == volume);
        mount.context("no such mount")?["readOnly"] = true.into();
        Ok(self)
    }

    /// On a node with another runtime.
    pub fn under(mut self, runtime: Runtime) -> Pod {
        self.name = format!("{}-{runtime:?}", self.name);
        self.runtime = runtime;
        self
    }

    /// Under another name, as another pod.
    pub fn called(mut self, name: &str) -> Pod {
        self.name = name.to_owned();
        self
    }

    /// With other arguments of guestreq.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Pod {
        self.container["args"] = arguments.into();
        self
    }

    /// Sets the ConfigMap's data for the next projection.
    pub fn with_config(&mut self, text: &str) -> &Pod {
        self.config["config.toml"] = text.into();
        self
    }

    /// Starts it with runc in the foreground, which forwards signals and the exit status.
    pub fn command(&self) -> Result<Command> {
        let bundle = Path::new(ROOT).join(&self.name);
        let rootfs = bundle.join("rootfs");
        fs::create_dir_all(&rootfs).context("the root file system")?;
        fs::copy("/bin/guestreq", rootfs.join("guestreq")).context("the image's one file")?;
        self.project_config()?;
        let spec = oci::spec(self)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?).context("config.json")?;
        let mut command = Command::new("runc");
        command.args(["--root", "/run/runc", "run", "--no-pivot", "--bundle"]);
        command.arg(&bundle).arg(&self.name);
        Ok(command)
    }

    /// Runs a command in the container as `kubectl exec` does.
    pub fn exec(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("runc");
        command.args(["--root", "/run/runc", "exec", &self.name, "/guestreq"]).args(arguments);
        let output = command.output().context("runc exec")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "in the pod, guestreq {arguments:?}: {}", stderr.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Writes the ConfigMap's files as a kubelet does: into a new folder, then swaps a link to it.
    pub fn project_config(&self) -> Result<()> {
        let folder = self.config_folder();
        let version = (0..).map(|n| format!("..version-{n}")).find(|n| !folder.join(n).exists());
        let version = version.context("a new folder's name")?;
        fs::create_dir_all(folder.join(&version)).context("the ConfigMap's folder")?;
        for (file, text) in self.config.as_object().into_iter().flatten() {
            fs::write(folder.join(&version).join(file), text.as_str().unwrap_or_default())?;
            if fs::symlink_metadata(folder.join(file)).is_err() {
                symlink(Path::new("..data").join(file), folder.join(file))?;
            }
        }
        symlink(&version, folder.join("..new"))?;
        fs::rename(folder.join("..new"), folder.join("..data")).context("the swap")
    }

    fn config_folder(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name).join("config")
    }

    /// The host's path of a volume.
    fn source(&self, volume: &str) -> Result<PathBuf> {
        let mut volumes = self.template["volumes"].as_array().into_iter().flatten();
        let volume = volumes.find(|it| it["name"] == volume).context("no such volume")?;
        let Some(path) = volume["hostPath"]["path"].as_str() else {
            ensure!(volume["configMap"].is_object(), "neither hostPath nor ConfigMap: {volume}");
            return Ok(self.config_folder());
        };
        match volume["hostPath"]["type"].as_str() {
            Some("Directory") => ensure!(Path::new(path).is_dir(), "{path} is no folder"),
            Some("DirectoryOrCreate") => run_command("mkdir", &["-p", path])?,
            other => anyhow::bail!("hostPath type {other:?}"),
        }
        Ok(PathBuf::from(path))
    }
}
