//! # VMs in pods
//!
//! With kubelet's cgroups and virt-launcher's arguments.

use std::{fs, process, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::{Agent, is_known, vm_named},
    cgroup::{ROOT, enter},
    enforcing::Enforcing,
    host::wait_until,
    load::{self, Load},
    scenario::{Context, Status, scenario},
};

scenario!(RULES: "pods/rules" = rules, "a rule for a pod holds for its VMs and no others");
scenario!(MOVED: "pods/moved" = moved, "a VM that is moved into its pod later is found there");

const UID: &str = "1858680e-b044-4fd5-9dd4-f137e30e2180";

/// A pod's cgroup.
struct PodCgroup {
    folder: String,
}

impl PodCgroup {
    fn new() -> Result<PodCgroup> {
        let name = format!("kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
        let folder = format!("{ROOT}/kubepods.slice/kubepods-burstable.slice/{name}");
        fs::create_dir_all(&folder).with_context(|| folder.clone())?;
        Ok(PodCgroup { folder })
    }

    /// Starts a load inside it.
    fn start(&self, arguments: &str) -> Result<Load> {
        enter(&self.folder, process::id())?;
        let load = load::start(arguments);
        enter(ROOT, process::id())?;
        load
    }
}

/// A VM as KubeVirt starts it.
fn kubevirt(namespace: &str) -> String {
    format!(
        "--vmm qemu --name {namespace}_web --type export --count 2 -- \
         -smbios type=1,manufacturer=KubeVirt,product=None"
    )
}

/// The default denies exports; one pod's VMs may send them, other VMs of that name may not.
fn rules(_: &Context) -> Result<Status> {
    let enforcing = Enforcing::start(&format!(
        "allow = [\"report\"]\n[[vm]]\nmatch = {{ namespace = \"prod\", pod_uid = \"{UID}\" }}\n\
         allow = [\"report\", \"export\"]\n"
    ))?;
    let pod = PodCgroup::new()?;
    let inside = pod.start(&kubevirt("prod"))?.finish()?;
    ensure!(inside.outcomes["7"].get("ok") == Some(&2), "in the pod: {:?}", inside.outcomes);
    let outside = load::run(&kubevirt("prod"))?;
    ensure!(outside.outcomes["7"].get("fw:0x16") == Some(&2), "in none: {:?}", outside.outcomes);
    let other = pod.start(&kubevirt("dev"))?.finish()?;
    ensure!(other.outcomes["7"].get("fw:0x16") == Some(&2), "of dev: {:?}", other.outcomes);

    let metrics = enforcing.agent.scrape()?;
    let labels = [("name", "web"), ("namespace", "prod"), ("pod_uid", UID), ("vmm", "qemu")];
    let all = metrics.values("guestreq_vm_info", "vm");
    ensure!(metrics.select("guestreq_vm_info", &labels).count() == 1, "{all:?}");
    ensure!(all.contains(&"dev/web".to_owned()), "{all:?}");
    enforcing.end()
}

/// As with Kata, whose VMM has created its guest context by then.
fn moved(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let load = load::start("--vmm qemu --name sandbox-5a3f --count 1 --hold")?;
    wait_until("the VM is known", Duration::from_secs(60), || is_known("sandbox-5a3f"))?;
    let vm = vm_named("sandbox-5a3f")?;
    ensure!(vm["pod_uid"] == "", "it is in no pod yet: {vm}");
    let pid = vm["pid"].as_u64().context("a pid")?;
    enter(&PodCgroup::new()?.folder, u32::try_from(pid)?)?;
    agent.wait_until("its pod is found", |metrics| {
        let labels = [("vm", "sandbox-5a3f"), ("pod_uid", UID)];
        metrics.select("guestreq_vm_info", &labels).count() == 1
    })?;
    load.finish()?;
    Ok(Status::Passed)
}
