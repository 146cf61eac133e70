//! # Nodes and pods that lack something

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{TIMEOUT, enforced::end, nodes, on_node, pod, start, stop};
use crate::{
    enforcing::Enforcing,
    gate::Gate,
    host::{Firmware, run_command, wait_until},
    load,
    node::{NEW, Node},
    scenario::{Context, Status, scenario},
    scenarios::{daemonset::decided, doctor::DoctorReport, takeover::PINS},
};

scenario!(MISSING_IMAGE: "containerd/missing_image" = |_: &Context| on_node(NEW, missing_image),
    "a new pod whose image is missing changes nothing: the old one's enforcement stays");
scenario!(NO_CGROUP_V2: "containerd/no_cgroup_v2" = no_cgroup_v2,
    "on a node with cgroup v1 VMs are counted and denied, and doctor says what is not known, and how to fix it");

fn missing_image(node: &Node) -> Result<()> {
    let gate = Gate::load(&[])?;
    let old = start(node, pod("enforce", "DaemonSet")?)?;
    decided("first", false)?;
    stop(node, old)?;
    let pins = || -> Result<Vec<_>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(PINS).context(PINS)? {
            names.push(entry?.file_name());
        }
        names.sort();
        Ok(names)
    };
    let before = pins()?;
    let mut new = pod("enforce", "DaemonSet")?;
    // Not even its first container can be created.
    for list in ["initContainers", "containers"] {
        new.spec[list][0]["image"] = "registry.example.com/guestreq:0.0.0".into();
    }
    let error = match node.kubelet.start(new) {
        Ok(_) => anyhow::bail!("it has started"),
        Err(error) => format!("{error:#}"),
    };
    println!("{error}");
    ensure!(error.starts_with("PullImage: ") && error.contains("guestreq:0.0.0"), "{error}");
    ensure!(pins()? == before, "{before:?}, then {:?}", pins()?);
    decided("without-an-image", false)?;
    // The next pod has one.
    let next = start(node, pod("enforce", "DaemonSet")?)?;
    decided("with-an-image", false)?;
    stop(node, next)?;
    end(node, Some(gate))
}

/// Last in its boot: it leaves no cgroup v2.
fn no_cgroup_v2(_: &Context) -> Result<Status> {
    const CGROUPS: &str = "/sys/fs/cgroup";
    for node in nodes().drain(..) {
        node.stop()?;
    }
    release_controllers(CGROUPS)?;
    run_command("umount", &["-l", CGROUPS])?;
    ensure!(!Path::new("/sys/fs/cgroup/cgroup.controllers").exists(), "it is still mounted");
    DoctorReport::of_enforcing_host()?.says("asids", "skip", "cgroup v2 is not mounted there")?;
    counts_and_denies()?;
    run_command("mount", &["-t", "tmpfs", "cgroup", CGROUPS])?;
    let hierarchy = format!("{CGROUPS}/systemd");
    fs::create_dir(&hierarchy).context("a hierarchy of v1")?;
    run_command("mount", &["-t", "cgroup", "-o", "none,name=systemd", "cgroup", &hierarchy])?;
    let found = DoctorReport::of_enforcing_host()?;
    found.says("asids", "skip", "/sys/fs/cgroup has cgroup v1 without its misc controller")?;
    counts_and_denies()?;
    // The remedy that it names.
    let misc = format!("{CGROUPS}/misc");
    fs::create_dir(&misc).context("a folder")?;
    // The kernel frees the controller some time after its last cgroup was removed.
    wait_until("v1 can have the controller", TIMEOUT, || {
        Ok(run_command("mount", &["-t", "cgroup", "-o", "misc", "misc", &misc]).is_ok())
    })?;
    DoctorReport::of_enforcing_host()?.says("asids", "pass", "ASIDs in use")?;
    Ok(Status::Passed)
}

/// VMs' cgroups only tell their pods.
fn counts_and_denies() -> Result<()> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name web --type report,export --count 20")?;
    let metrics = agent.scrape()?;
    let count = |result| metrics.sum("guestreq_requests_total", &[("result", result)]) as u64;
    let (ok, denied) = (count("ok"), count("denied"));
    let reached = Firmware::read()?.since(&before).guest_requests;
    ensure!(
        ok == reached && (ok, denied) == (10, 10),
        "{ok} ok, {reached} reached, {denied} denied"
    );
    Enforcing { agent, gate }.end().map(drop)
}

/// Removes all cgroups below the root, which are empty, and disables its controllers.
fn release_controllers(root: &str) -> Result<()> {
    fn below(folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                below(&path)?;
                fs::remove_dir(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }
    below(Path::new(root))?;
    let file = format!("{root}/cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).context(file.clone())?;
    let disable: Vec<_> = enabled.split_whitespace().map(|name| format!("-{name}")).collect();
    fs::write(&file, disable.join(" ")).context(file)
}
