//! # A node's root
//!
//! A mount namespace whose root is a tmpfs with one suite's programs and libraries, and with
//! everything else of the host. So a runtime can pivot the root as on a host (that of an initramfs
//! cannot be pivoted), and programs with different libraries run on one host.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::host;

/// $1 is the folder of programs and libraries, $2 that of /etc; then what to execute. The host's
/// mounts are received, not sent; a container's mounts reach the node only if they are Bidirectional.
/// Like switch_root, it moves the new root over the old one.
const ENTER: &str = r#"
set -e
mount -t tmpfs node /nodes/root
cd /nodes/root
mkdir usr proc sys dev run tmp var opt nodes
for folder in bin sbin lib lib64; do ln -s usr/$folder $folder; done
mount --bind "$1/usr" usr
for folder in proc sys dev run tmp var; do mount --rbind /$folder $folder; done
mount --bind /nodes nodes
cp -r "$2" etc
: >etc/resolv.conf
echo '127.0.0.1 localhost' >etc/hosts
cp /bin/busybox .
mount --make-rshared .
mount --move . /
shift 2
exec chroot . "$@"
"#;

/// For what is executed, by a host's and by itself.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell's commands, which no suite's programs are.
pub const BUSYBOX: &str = "/busybox";

/// Mounts of the host are propagated as systemd sets them up.
pub fn prepare() -> Result<()> {
    fs::create_dir("/dev/shm").context("/dev/shm")?;
    host::run_command("mount", &["-t", "tmpfs", "shm", "/dev/shm"])?;
    host::run_command("mount", &["--make-rshared", "/"])?;
    fs::create_dir("/nodes/root").context("/nodes/root")?;
    // podman unpacks images there.
    fs::create_dir_all("/var/tmp").context("/var/tmp")?;
    symlink("/run", "/var/run").context("/var/run")
}

/// Executes a program in a new root: `name` is the folder below /nodes, `etc` what becomes /etc.
pub fn enter(name: &str, etc: &Path, program: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "slave", "--", "sh", "-c", ENTER, "sh"]);
    unshare.arg(format!("/nodes/{name}")).arg(etc).args(program).env("PATH", PATH);
    unshare
}

/// Executes a program in the root of a process.
pub fn inside(pid: u32, program: &[&str]) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["-t", &pid.to_string(), "-m", "-r", "--"]).args(program);
    nsenter.env("PATH", PATH);
    nsenter
}
