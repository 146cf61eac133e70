//! # A pod on this host
//!
//! The manifests as kubectl renders them, and runc, started as containerd or CRI-O would have it started:
//! user, capabilities, root, seccomp, mounts and arguments are the manifest's, none is repeated
//! here. The image is its one file. What a cluster has and this has not: a network namespace.

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

/// Where pods' files are.
const ROOT: &str = "/tmp/pods";

/// A container of a pod, to be started.
pub struct Pod {
    template: Value,
    container: Value,
    /// What its ConfigMap holds; in the manifest, to begin with.
    config: Value,
    name: String,
    runtime: Runtime,
}

impl Pod {
    /// A container of an object that an overlay renders.
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

    /// Which capabilities the manifest adds.
    pub fn capabilities(&self) -> Vec<String> {
        let added = self.container["securityContext"]["capabilities"]["add"].as_array();
        added.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    }

    /// The same with one capability less.
    pub fn without(mut self, capability: &str) -> Pod {
        self.name = format!("{}-without-{capability}", self.name);
        let added = self.capabilities().into_iter().filter(|name| name != capability).collect();
        self.container["securityContext"]["capabilities"]["add"] = added;
        self
    }

    /// The same with a volume mounted so that nothing can be written to it.
    pub fn read_only(mut self, volume: &str) -> Result<Pod> {
        self.name = format!("{}-read-only-{volume}", self.name);
        let mounts = self.container["volumeMounts"].as_array_mut().context("no mounts")?;
        let mount = mounts.iter_mut().find(|mount| mount["name"] == volume);
        mount.context("no such mount")?["readOnly"] = true.into();
        Ok(self)
    }

    /// The same on a node with another runtime.
    pub fn under(mut self, runtime: Runtime) -> Pod {
        self.name = format!("{}-{runtime:?}", self.name);
        self.runtime = runtime;
        self
    }

    /// The same under another name: another pod.
    pub fn called(mut self, name: &str) -> Pod {
        self.name = name.to_owned();
        self
    }

    /// What its ConfigMap is to hold from the next projection on.
    pub fn with_config(&mut self, text: &str) -> &Pod {
        self.config["config.toml"] = text.into();
        self
    }

    /// What starts it: runc, in the foreground, which hands on signals and exit status.
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

    /// A command in the running container, as `kubectl exec` would run it.
    pub fn exec(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("runc");
        command.args(["--root", "/run/runc", "exec", &self.name, "/guestreq"]).args(arguments);
        let output = command.output().context("runc exec")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "in the pod, guestreq {arguments:?}: {}", said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Writes the ConfigMap's files as a kubelet does: into a new folder, to which a link is
    /// swapped at once.
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

    /// Where on this host a volume is.
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
