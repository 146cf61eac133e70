//! # Two containerds on a node
//!
//! As on a node where Docker brings its own. VMs run in pods of both, as KubeVirt starts them: in a
//! container with the devices that a device plugin gives it.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context as _, Result};
use rig_cri::{Pod, Running};
use serde_json::{Value, json};

use super::{TIMEOUT, new_uid, on_node, pod, scrape, start, stop};
use crate::{
    host::wait_until,
    node::{NEW, Node, OLD},
    scenario::{Context, Status, scenario},
};

scenario!(TWO: "containerd/two" = |_: &Context| on_both(),
    "with two containerds on a node every VM has the UID of its own pod, seen from the agent's pod");

/// The VMM's folder, which is the same on the host and on a node.
const VMM: &str = "/tmp/vmm";

/// A pod with a VM of this name, until it is stopped.
fn vm(namespace: &str) -> Result<Pod> {
    let name = format!("{namespace}_web");
    let args = ["--vmm", "qemu", "--name", &name, "--pages", "0", "--count", "5", "--hold", "--"];
    let kubevirt = ["-smbios", "type=1,manufacturer=KubeVirt,product=None"];
    let args = [&args[..], &kubevirt[..]].concat();
    let object = json!({
        "kind": "Pod", "metadata": {"namespace": namespace},
        "spec": {"template": {"spec": {
            "terminationGracePeriodSeconds": 5,
            "containers": [{
                "name": "compute",
                "image": "docker.io/library/pause:1",
                "command": ["/bin/snpload"],
                "args": args,
                "volumeMounts": [{"name": "vmm", "mountPath": "/bin", "readOnly": true}],
            }],
            "volumes": [{"name": "vmm", "hostPath": {"path": VMM, "type": "Directory"}}],
        }}},
    });
    let mut pod = Pod::of(&[object], "Pod", "virt-launcher-web", &new_uid().1)?;
    // The last one is the rig's, at which snpload says what guests do.
    pod.devices = ["/dev/kvm", "/dev/sev", "/dev/snpsim"].map(str::to_owned).to_vec();
    Ok(pod)
}

fn on_both() -> Result<Status> {
    on_node(OLD, |old| on_node(NEW, |new| two(old, new)).map(drop))
}

fn two(old: &Node, new: &Node) -> Result<()> {
    fs::create_dir_all(VMM).context(VMM)?;
    fs::copy("/bin/snpload", format!("{VMM}/snpload")).context(VMM)?;
    symlink("snpload", format!("{VMM}/qemu-system-x86_64")).context(VMM)?;
    let agent = start(new, pod("observe", "DaemonSet")?)?;
    let first = old.kubelet.start(vm("dev")?)?;
    let second = new.kubelet.start(vm("prod")?)?;
    let seen = |vm: &str, running: &Running| -> Result<bool> {
        let (labels, all) = ([("vm", vm), ("pod_uid", running.pod.uid.as_str())], scrape(&agent)?);
        let count = |labels| all.select("guestreq_vm_info", labels).count();
        // In its pod, and in no other.
        Ok(count(&labels[..]) == 1 && count(&labels[..1]) == 1)
    };
    let found = wait_until("both VMs are in their pods", TIMEOUT, || {
        Ok(seen("dev/web", &first)? && seen("prod/web", &second)?)
    });
    found.with_context(|| described(&agent, &[&first, &second]))?;
    old.kubelet.stop(first)?;
    new.kubelet.stop(second)?;
    stop(new, agent)
}

/// For a failure: what each says.
fn described(agent: &Running, vms: &[&Running]) -> String {
    let info = scrape(agent).map(|all| all.values("guestreq_vm_info", "pod_uid"));
    let logs: Vec<Value> =
        vms.iter().map(|vm| vm.log("compute").unwrap_or_default().into()).collect();
    format!("pod_uids {info:?}, logs {logs:?}")
}
