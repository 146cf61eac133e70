//! # podman, which plays Kubernetes' objects without a kubelet

use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{children, node::root};

const NAME: &str = "podman";
/// An overlay's objects as YAML, of which JSON is a part.
const OBJECTS: &str = "/tmp/podman/objects.yaml";

/// No network of podman's: pods have the host's.
const CONTAINERS: &str = r#"[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
infra_image = "docker.io/library/pause:1"
"#;
const ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const STORAGE: &str = r#"[storage]
driver = "overlay"
graphroot = "/tmp/podman/root"
runroot = "/run/podman/root"
"#;

/// A root in which podman can be run; ended when dropped.
pub struct Podman {
    /// Keeps the root.
    child: Child,
}

impl Podman {
    /// Prepares the root and loads the images of guestreq and of a pod's first container.
    pub fn new() -> Result<Podman> {
        let etc = PathBuf::from("/tmp/podman/etc");
        let folder = etc.join("containers");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        for (name, text) in [
            ("containers/containers.conf", CONTAINERS),
            ("containers/storage.conf", STORAGE),
            ("containers/policy.json", policy),
            ("containers/registries.conf", "unqualified-search-registries = []\n"),
            ("passwd", "root:x:0:0::/:/bin/sh\n"),
            ("group", "root:x:0:\n"),
        ] {
            fs::write(etc.join(name), text).with_context(|| name.to_owned())?;
        }
        let mut enter = root::enter(NAME, &etc, &[root::BUSYBOX, "sleep", "inf"]);
        let child = enter.stdin(Stdio::null()).spawn().context("a root for podman")?;
        let podman = Podman { child };
        podman.wait_for_root()?;
        for image in ["pause", "guestreq"] {
            podman.run(&["load", "--input", &format!("/nodes/images/{image}.tar")])?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let imported = format!("docker.io/library/guestreq:{version}");
        podman.run(&["tag", &imported, &format!("registry.example.com/guestreq:{version}")])?;
        Ok(podman)
    }

    fn wait_for_root(&self) -> Result<()> {
        let executable = format!("/proc/{}/cmdline", self.child.id());
        crate::host::wait_until("podman has its root", std::time::Duration::from_secs(60), || {
            Ok(fs::read(&executable)?.starts_with(root::BUSYBOX.as_bytes()))
        })
    }

    /// Runs a command of podman's that must succeed; what it prints.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut podman = root::inside(self.child.id(), &["/bin/podman"]);
        let output = podman.args(arguments).output().context("podman")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "podman {arguments:?}: {}", stderr.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts what an overlay describes, as its users would: all of its objects.
    pub fn play(&self, overlay: &str) -> Result<()> {
        let mut objects: Vec<serde_json::Value> =
            serde_json::from_slice(&fs::read(format!("/lib/{overlay}.json"))?)?;
        objects.iter_mut().for_each(annotate);
        let documents: Vec<_> = objects.iter().map(ToString::to_string).collect();
        fs::write(OBJECTS, documents.join("\n---\n")).context(OBJECTS)?;
        self.run(&["kube", "play", "--network", "host", OBJECTS])?;
        Ok(())
    }

    /// Ends what was started, and removes it.
    pub fn down(&self) -> Result<()> {
        self.run(&["kube", "down", OBJECTS])?;
        Ok(())
    }

    /// What the container of this name has printed.
    pub fn log(&self, container: &str) -> Result<String> {
        let mut podman = root::inside(self.child.id(), &["/bin/podman", "logs", container]);
        let output = podman.output().context("podman logs")?;
        let all = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&all).into_owned())
    }
}

/// podman 5.4 takes a pod's own seccomp profile only from the annotation that Kubernetes had before
/// seccompProfile.
fn annotate(object: &mut serde_json::Value) {
    let Some(template) = object.pointer_mut("/spec/template") else { return };
    let profile = template.pointer("/spec/securityContext/seccompProfile/localhostProfile");
    if let Some(name) = profile.and_then(|name| name.as_str()) {
        let annotation = format!("localhost/{name}");
        template["metadata"]["annotations"][ANNOTATION] = annotation.into();
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its pods would stay on the host's network.
        let _ = self.run(&["pod", "rm", "--all", "--force"]);
        children::kill(&mut self.child, "podman");
    }
}
