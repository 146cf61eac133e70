//! # What the runtime gives the agent's container

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rig_cri::Running;

use super::{TIMEOUT, on_node, pod, start, stop};
use crate::{
    agent,
    host::{run_command, wait_until},
    node::{NEW, Node, OLD},
    privileges::{Privileges, numbered},
    scenario::{Context, scenario},
};

scenario!(CONFINED_1: "containerd/confined_1" = |_: &Context| on_node(OLD, confined),
    "under containerd 1 the agent has the manifest's privileges, the host's later mounts, and probes that can fail");
scenario!(CONFINED_2: "containerd/confined_2" = |_: &Context| on_node(NEW, confined),
    "under containerd 2 the agent has the manifest's privileges, the host's later mounts, and probes that can fail");

/// Mounted on the host below what the container has with HostToContainer.
const LATE: &str = "/sys/fs/bpf/late";

fn confined(node: &Node) -> Result<()> {
    let running = start(node, pod("observe", "DaemonSet")?)?;
    let pid = pid(&running)?;
    let context = &running.pod.spec["containers"][0]["securityContext"];
    let added = context["capabilities"]["add"].as_array().context("no capabilities")?;
    let numbers = added.iter().map(|name| numbered(name.as_str().unwrap_or_default()));
    let manifest = Privileges {
        capabilities: numbers.collect::<Result<BTreeSet<_>>>()?,
        no_new_privileges: context["allowPrivilegeEscalation"] == false,
        is_filtered: true,
    };
    let granted = Privileges::of(pid)?;
    ensure!(granted == manifest && !manifest.capabilities.is_empty(), "{granted:?}, {manifest:?}");

    fs::create_dir(LATE).context(LATE)?;
    run_command("mount", &["-t", "tmpfs", "late", LATE])?;
    let sees = sees(pid, LATE);
    run_command("umount", &[LATE])?;
    fs::remove_dir(LATE).context(LATE)?;
    ensure!(sees?, "the container does not see what the host mounts later");

    // A kubelet restarts an agent that does not answer.
    agent::signal(pid, libc::SIGSTOP)?;
    let probed = node.kubelet.probe(&running, "livenessProbe");
    agent::signal(pid, libc::SIGCONT)?;
    ensure!(probed.is_err(), "a stopped agent is alive");
    wait_until("it is alive again", TIMEOUT, || {
        Ok(node.kubelet.probe(&running, "livenessProbe").is_ok())
    })?;
    stop(node, running)
}

fn sees(pid: u32, path: &str) -> Result<bool> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).context("its mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(path)))
}

/// The agent's process, in the pod's cgroup.
fn pid(running: &Running) -> Result<u32> {
    let pod = PathBuf::from(format!("/sys/fs/cgroup{}", running.pod.cgroup()?));
    let mut folders = vec![pod];
    while let Some(folder) = folders.pop() {
        let list = folder.join("cgroup.procs");
        let pids = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        for pid in pids.lines() {
            // Another process may have ended.
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if comm.trim() == "guestreq" {
                return pid.parse().context("a pid");
            }
        }
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        folders.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    bail!("no agent runs in the pod")
}
