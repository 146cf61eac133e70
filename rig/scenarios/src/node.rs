//! # A Kubernetes node's container runtime
//!
//! containerd runs in a mount namespace whose root is a tmpfs with its suite's programs and
//! libraries, and with everything else of the host. So runc can leave its root as on a host (the root
//! of an initramfs cannot be pivoted), and versions with different libraries run on one host.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rig_cri::{Kubelet, Runtime};

use crate::{agent, host, host::wait_until};

/// Names of nodes below /nodes: containerd's version.
pub const OLD: &str = "containerd-1.7";
pub const NEW: &str = "containerd-2";

/// An emulated machine is slow.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes the root of a node and starts containerd in it: $1 is the node's folder, $2 containerd's
/// configuration. The host's mounts are received, not sent; a container's mounts reach the node only
/// if they are Bidirectional. Like switch_root, it moves the new root over the old one.
const ENTER: &str = r#"
set -e
mount -t tmpfs node /nodes/root
cd /nodes/root
mkdir usr etc proc sys dev run tmp var opt nodes
for folder in bin sbin lib lib64; do ln -s usr/$folder $folder; done
mount --bind "$1/usr" usr
for folder in proc sys dev run tmp var; do mount --rbind /$folder $folder; done
mount --bind /nodes nodes
mkdir -p etc/cni/net.d
cp "$2/containerd.toml" etc/
cp "$2/rig.conflist" etc/cni/net.d/
: >etc/resolv.conf
echo '127.0.0.1 localhost' >etc/hosts
mount --make-rshared .
mount --move . /
exec chroot . /bin/containerd --config /etc/containerd.toml
"#;

/// A running containerd and a kubelet for it; killed when dropped.
pub struct Node {
    pub name: &'static str,
    pub kubelet: Kubelet,
    child: Child,
}

/// An SNP host on which nodes can run: modules, mounts that are propagated as systemd sets them up,
/// and a kubelet's folders.
pub fn prepare() -> Result<()> {
    host::load_all()?;
    for module in ["overlay", "veth"] {
        host::insmod(module, &[])?;
    }
    host::run_command("mount", &["--make-rshared", "/"])?;
    fs::create_dir("/nodes/root").context("/nodes/root")?;
    fs::create_dir_all("/var/lib/kubelet").context("a kubelet's folder")?;
    fs::create_dir("/var/lib/kubelet/seccomp").context("profiles' folder")?;
    for entry in fs::read_dir("/lib/kubelet/seccomp")? {
        let entry = entry?;
        let to = Path::new("/var/lib/kubelet/seccomp").join(entry.file_name());
        fs::copy(entry.path(), to).context("a seccomp profile")?;
    }
    symlink("/run", "/var/run").context("/var/run")
}

impl Node {
    /// Starts containerd and imports the images of guestreq and of a pod's first container.
    pub fn start(name: &'static str, subnet: &str) -> Result<Node> {
        let folder = PathBuf::from(format!("/tmp/{name}"));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        fs::write(folder.join("containerd.toml"), configuration(name))
            .context("containerd.toml")?;
        fs::write(folder.join("rig.conflist"), network(name, subnet)).context("rig.conflist")?;
        let log = File::create(folder.join("log")).context("containerd's log")?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "slave", "--", "sh", "-c", ENTER, "sh"]);
        unshare.arg(format!("/nodes/{name}")).arg(&folder);
        let mut child = unshare
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("containerd's log")?)
            .stderr(log)
            .spawn()
            .context("containerd")?;
        let mut runtime = None;
        let started = wait_until("containerd answers", TIMEOUT, || {
            if let Some(status) = child.try_wait().context("containerd")? {
                bail!("containerd has ended ({status}): {}", tail(name));
            }
            runtime = Runtime::connect(Path::new(&socket(name))).ok();
            Ok(runtime
                .as_ref()
                .is_some_and(|it| it.lacks().is_ok_and(|missing| missing.is_empty())))
        });
        let lacks = runtime.as_ref().map(Runtime::lacks);
        match (started, runtime) {
            (Ok(()), Some(runtime)) => {
                let node = Node { name, kubelet: Kubelet::new(runtime), child };
                node.import()?;
                Ok(node)
            }
            (failed, _) => {
                let _ = child.kill();
                let _ = child.wait();
                failed.with_context(|| format!("{lacks:?}: {}", tail(name)))?;
                bail!("no runtime")
            }
        }
    }

    /// As an operator does on a node without a registry.
    fn import(&self) -> Result<()> {
        for image in ["pause", "guestreq"] {
            self.ctr(&["images", "import", &format!("/nodes/images/{image}.tar")])?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let imported = format!("docker.io/library/guestreq:{version}");
        self.ctr(&["images", "tag", &imported, &format!("registry.example.com/guestreq:{version}")])
    }

    fn ctr(&self, arguments: &[&str]) -> Result<()> {
        let mut ctr = Command::new("nsenter");
        ctr.args(["-t", &self.child.id().to_string(), "-m", "-r", "--", "/bin/ctr"]);
        ctr.args(["--address", &socket(self.name), "--namespace", "k8s.io"]).args(arguments);
        let output = ctr.output().context("ctr")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ctr {arguments:?}: {}", stderr.trim());
        Ok(())
    }

    /// Ends containerd; pods' processes stay.
    pub fn stop(mut self) -> Result<()> {
        agent::signal(self.child.id(), libc::SIGTERM)?;
        wait_until("containerd has ended", TIMEOUT, || Ok(self.child.try_wait()?.is_some()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(name: &str) -> String {
    format!("/run/{name}/containerd.sock")
}

fn tail(name: &str) -> String {
    let log = fs::read_to_string(format!("/tmp/{name}/log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// In version 2 of the format, which containerd 2 still reads. Its root is on a tmpfs, as overlayfs
/// has no upper layer on an initramfs.
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
fn network(name: &str, subnet: &str) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "{name}", "plugins": [{{
  "type": "ptp", "ipMasq": false,
  "ipam": {{"type": "host-local", "subnet": "{subnet}", "routes": [{{"dst": "0.0.0.0/0"}}]}}
}}]}}
"#
    )
}
