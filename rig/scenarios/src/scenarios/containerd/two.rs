//! # Two containerds on a node
//!
//! As on a node where Docker brings its own. VMs run in pods of both, as KubeVirt starts them: in a
//! container with the devices that a device plugin gives it.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context as _, Result, ensure};
use rig_cri::{Pod, Running};
use serde_json::{Value, json};

use super::{SUBNET, TIMEOUT, pod, scrape, start, stop, uid};
use crate::{
    host::wait_until,
    node::{NEW, Node, OLD},
    scenario::{Context, Status, scenario},
};

scenario!(TWO: "containerd/two" = two,
    "with two containerds on a node every VM has the UID of its own pod, seen from the agent's pod");

const OTHER_SUBNET: &str = "10.89.0.0/24";
/// The VMM's folder, which is the same on the host and on a node.
const VMM: &str = "/tmp/vmm";

/// A pod with a VM of this name, until it is stopped.
fn vm(namespace: &str, number: u32) -> Result<Pod> {
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
    let mut pod = Pod::of(&[object], "Pod", "virt-launcher-web", &uid(number))?;
    pod.devices = ["/dev/kvm", "/dev/sev"].map(str::to_owned).to_vec();
    Ok(pod)
}

fn two(_: &Context) -> Result<Status> {
    fs::create_dir_all(VMM).context(VMM)?;
    fs::copy("/bin/snpload", format!("{VMM}/snpload")).context(VMM)?;
    symlink("snpload", format!("{VMM}/qemu-system-x86_64")).context(VMM)?;
    let (old, new) = (Node::start(OLD, SUBNET)?, Node::start(NEW, OTHER_SUBNET)?);
    let agent = start(&new, pod("observe", "DaemonSet", 1)?)?;
    let first = old.kubelet.start(vm("dev", 2)?)?;
    let second = new.kubelet.start(vm("prod", 3)?)?;
    let seen = |vm: &str, number: u32| -> Result<bool> {
        let (pod_uid, all) = (uid(number), scrape(&agent)?);
        let labels = [("vm", vm), ("pod_uid", pod_uid.as_str())];
        Ok(all.select("guestreq_vm_info", &labels).count() == 1)
    };
    let found = wait_until("both VMs are in their pods", TIMEOUT, || {
        Ok(seen("dev/web", 2)? && seen("prod/web", 3)?)
    });
    found.with_context(|| described(&agent, &[&first, &second]))?;
    let all = scrape(&agent)?.values("guestreq_vm_info", "vm");
    ensure!(all.len() == 2, "{all:?}");
    old.kubelet.stop(first)?;
    new.kubelet.stop(second)?;
    stop(&new, agent)?;
    old.stop()?;
    new.stop()?;
    Ok(Status::Passed)
}

/// For a failure: what each says.
fn described(agent: &Running, vms: &[&Running]) -> String {
    let info = scrape(agent).map(|all| all.values("guestreq_vm_info", "pod_uid"));
    let logs: Vec<Value> =
        vms.iter().map(|vm| vm.log("compute").unwrap_or_default().into()).collect();
    format!("pod_uids {info:?}, logs {logs:?}")
}
