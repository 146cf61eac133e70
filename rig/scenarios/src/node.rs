//! # A Kubernetes node: containerd and a kubelet

pub mod root;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rig_cri::{Kubelet, Runtime};

use crate::{
    agent, children,
    host::{self, wait_until},
};

/// Names of nodes below /nodes: containerd's version.
pub const OLD: &str = "containerd-1.7";
pub const NEW: &str = "containerd-2";

/// An emulated machine is slow.
const TIMEOUT: Duration = Duration::from_secs(60);
const PROFILES: &str = "/var/lib/kubelet/seccomp";

/// A running containerd and a kubelet for it; killed when dropped.
pub struct Node {
    pub name: &'static str,
    pub kubelet: Kubelet,
    child: Child,
}

/// An SNP host on which nodes can run: modules, mounts and a kubelet's folders.
pub fn prepare() -> Result<()> {
    host::load_all()?;
    for module in ["overlay", "veth"] {
        host::insmod(module, &[])?;
    }
    root::prepare()?;
    fs::create_dir_all(PROFILES).context(PROFILES)?;
    for entry in fs::read_dir("/lib/kubelet/seccomp")? {
        let entry = entry?;
        let to = Path::new(PROFILES).join(entry.file_name());
        fs::copy(entry.path(), to).context("a seccomp profile")?;
    }
    Ok(())
}

impl Node {
    /// Starts containerd and imports the images of guestreq and of a pod's first container.
    pub fn start(name: &'static str) -> Result<Node> {
        let etc = PathBuf::from(format!("/tmp/{name}/etc"));
        let networks = etc.join("cni/net.d");
        fs::create_dir_all(&networks).with_context(|| networks.display().to_string())?;
        fs::write(etc.join("containerd.toml"), configuration(name)).context("containerd.toml")?;
        fs::write(networks.join("rig.conflist"), network(name)).context("rig.conflist")?;
        let log = File::create(log_of(name)).context("containerd's log")?;
        let program = ["/bin/containerd", "--config", "/etc/containerd.toml"];
        let mut child = root::enter(name, &etc, &program)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("containerd's log")?)
            .stderr(log)
            .spawn()
            .context("containerd")?;
        let mut runtime = None;
        let started = wait_until("containerd is ready", TIMEOUT, || {
            if let Some(status) = child.try_wait().context("containerd")? {
                bail!("containerd has ended ({status})");
            }
            runtime = Runtime::connect(Path::new(&socket(name))).ok();
            Ok(runtime.as_ref().is_some_and(|it| it.lacks().is_ok_and(|lack| lack.is_empty())))
        });
        // From here on a failure ends it.
        let lacks = runtime.as_ref().map(Runtime::lacks);
        let node = runtime.map(|runtime| Node { name, kubelet: Kubelet::new(runtime), child });
        started.with_context(|| format!("it lacks {lacks:?}: {}", tail(name)))?;
        let node = node.context("no runtime")?;
        node.import()?;
        Ok(node)
    }

    /// As an operator does on a node without a registry.
    fn import(&self) -> Result<()> {
        for image in ["pause", "guestreq"] {
            self.ctr(&["images", "import", &format!("/nodes/images/{image}.tar")])?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let imported = format!("docker.io/library/guestreq:{version}");
        let wanted = format!("registry.example.com/guestreq:{version}");
        self.ctr(&["images", "tag", "--force", &imported, &wanted])
    }

    fn ctr(&self, arguments: &[&str]) -> Result<()> {
        let socket = socket(self.name);
        let ctr = ["/bin/ctr", "--address", &socket, "--namespace", "k8s.io"];
        let mut ctr = root::inside(self.child.id(), &ctr);
        let output = ctr.args(arguments).output().context("ctr")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ctr {arguments:?}: {}", stderr.trim());
        Ok(())
    }

    /// Ends containerd; pods' processes would stay.
    pub fn stop(mut self) -> Result<()> {
        agent::signal(self.child.id(), libc::SIGTERM)?;
        children::wait(&mut self.child, "containerd", TIMEOUT).map(drop)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What a failed scenario has left would disturb the next one.
        let _ = fs::write("/sys/fs/cgroup/kubepods/cgroup.kill", "1");
        children::kill(&mut self.child, "containerd");
    }
}

fn socket(name: &str) -> String {
    format!("/run/{name}/containerd.sock")
}

fn log_of(name: &str) -> String {
    format!("/tmp/{name}/log")
}

fn tail(name: &str) -> String {
    let log = fs::read_to_string(log_of(name)).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// In version 2 of the format, which containerd 2 still reads. Its root is on a tmpfs, as overlayfs
/// takes no upper layer on an initramfs.
fn configuration(name: &str) -> String {
    format!(
        r#"version = 2
root = "/tmp/{name}/root"
state = "/run/{name}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"#,
        socket(name)
    )
}

/// A network of pods, each with an interface of its own to the host.
fn network(name: &str) -> String {
    let subnet = if name == OLD { "10.88.0.0/24" } else { "10.89.0.0/24" };
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "{name}", "plugins": [{{
  "type": "ptp", "ipMasq": false,
  "ipam": {{"type": "host-local", "subnet": "{subnet}", "routes": [{{"dst": "0.0.0.0/0"}}]}}
}}]}}
"#
    )
}
