//! # Enforcement by the DaemonSet's pod

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rig_cri::{Kubelet, Running, project};

use super::{SUBNET, TIMEOUT, pod, scrape, start, stop};
use crate::{
    agent::json,
    gate::Gate,
    host::{Firmware, wait_until},
    load,
    node::{NEW, Node, OLD},
    scenario::{Context, Status, scenario},
    scenarios::{daemonset::decided, enforce::disallowed_that_reached},
};

scenario!(CONFIG_MAP_1: "containerd/config_map_1.7" = |_: &Context| config_map(OLD),
    "under containerd 1.7 the pod's policy is the ConfigMap's, also after a change of it");
scenario!(CONFIG_MAP_2: "containerd/config_map_2" = |_: &Context| config_map(NEW),
    "under containerd 2 the pod's policy is the ConfigMap's, also after a change of it");
scenario!(VCPU: "containerd/vcpu" = vcpu,
    "the pod enforces with the backend vcpu, too");
scenario!(REPLACED: "containerd/replaced" = replaced,
    "no disallowed request passes while a pod is replaced, and the new one takes over");
scenario!(DETACHED: "containerd/detached" = detached,
    "the detach Job refuses while the agent runs, and then removes what enforces");
scenario!(OWN_PROFILE: "containerd/own_profile" = own_profile,
    "the pod works under its own seccomp profile, from kubelet's folder");

pub const PINS: &str = "/sys/fs/bpf/guestreq";

/// Runs the detach Job's pod: its exit code and log.
pub fn detach(kubelet: &Kubelet) -> Result<(i32, String)> {
    let running = kubelet.start(pod("detach", "Job", 99)?)?;
    let code = kubelet.wait_for(&running, "detach")?;
    let log = running.log("detach")?;
    kubelet.stop(running)?;
    Ok((code, log))
}

/// Ends enforcement and the node.
pub fn end(node: Node, gate: Option<Gate>) -> Result<Status> {
    let (code, log) = detach(&node.kubelet)?;
    ensure!(code == 0, "the Job exits {code}: {log}");
    ensure!(!Path::new(PINS).exists(), "{PINS} still exists");
    if let Some(gate) = gate {
        gate.remove()?;
    }
    node.stop()?;
    Ok(Status::Passed)
}

fn reloads(running: &mut Running, config: &str, successful: u8) -> Result<()> {
    let map = running.pod.config_maps.get_mut("guestreq").context("no ConfigMap")?;
    map["config.toml"] = config.into();
    let reloads = |running: &Running| Ok::<_, anyhow::Error>(running.log("agent")?.lines().count());
    let before = reloads(running)?;
    project(&running.pod)?;
    let what = format!("the ConfigMap is read, {config:?}");
    wait_until(&what, TIMEOUT, || {
        let labels = [];
        let all = scrape(running)?;
        let last = all.sum("guestreq_config_last_reload_successful", &labels) as u8;
        Ok(last == successful && reloads(running)? > before)
    })
}

fn config_map(name: &'static str) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let node = Node::start(name, SUBNET)?;
    let mut running = start(&node, pod("enforce", "DaemonSet", 1)?)?;
    decided("first", false)?;
    let given = running.pod.config_maps["guestreq"]["config.toml"].clone();
    reloads(&mut running, "mode = \"enforce\"\nallow = [\"report\", \"export\"]\n", 1)?;
    decided("allowed", true)?;
    reloads(&mut running, "mode = \"enforce\"\nallow = [\"exprot\"]\n", 0)?;
    decided("broken", true)?;
    reloads(&mut running, given.as_str().context("no text")?, 1)?;
    decided("mended", false)?;
    // On the host and by `kubectl exec`, as the socket is the host's.
    let seen = json("psp")?;
    let inside = node.kubelet.exec(&running, "agent", &["/guestreq", "psp", "-o", "json"])?;
    let inside: serde_json::Value = serde_json::from_str(&inside)?;
    ensure!(seen["asids"].is_object() && inside["asids"] == seen["asids"], "{inside} {seen}");
    stop(&node, running)?;
    end(node, Some(gate))
}

fn vcpu(_: &Context) -> Result<Status> {
    let node = Node::start(NEW, SUBNET)?;
    let mut wanted = pod("enforce", "DaemonSet", 1)?;
    let map = wanted.config_maps.get_mut("guestreq").context("no ConfigMap")?;
    map["config.toml"] = "mode = \"enforce\"\nbackend = \"vcpu\"\nallow = [\"report\"]\n".into();
    let running = node.kubelet.start(wanted)?;
    node.kubelet.wait_until_ready(&running)?;
    let before = Firmware::read()?;
    let seen = load::run("--vmm qemu --name hostile --type export --count 20")?;
    let reached = disallowed_that_reached(&Firmware::read()?.since(&before));
    let outcomes = &seen.outcomes["7"];
    ensure!(reached == 1, "{reached} exports of one vCPU reached the PSP");
    ensure!(outcomes.get("errno:1") == Some(&1), "its vCPU still runs: {outcomes:?}");
    let seen = load::run("--vmm qemu --name good --type report --count 20")?;
    ensure!(seen.outcomes["5"].get("ok") == Some(&20), "{:?}", seen.outcomes);
    stop(&node, running)?;
    end(node, None)
}

fn replaced(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let node = Node::start(NEW, SUBNET)?;
    let old = start(&node, pod("enforce", "DaemonSet", 1)?)?;
    let before = Firmware::read()?;
    let flood = load::start("--vmm qemu --name flood --type export --seconds 600")?;
    // Every phase sees requests.
    let denied = |phase: &str| {
        let so_far = gate.counts()?.denied;
        wait_until(&format!("{phase} denies"), TIMEOUT, || Ok(gate.counts()?.denied > so_far + 20))
    };
    denied("the old pod")?;
    stop(&node, old)?;
    denied("no pod")?;
    let new = start(&node, pod("enforce", "DaemonSet", 2)?)?;
    denied("the new pod")?;
    let log = new.log("agent")?;
    ensure!(log.contains("took over lsm/file_ioctl"), "{log}");
    let seen = flood.stop()?;
    let reached = disallowed_that_reached(&Firmware::read()?.since(&before));
    ensure!(reached == 0, "{reached} of {} exports reached the PSP", seen.requests);
    println!("{} exports were denied during the replacement", seen.requests);
    stop(&node, new)?;
    end(node, Some(gate))
}

fn detached(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let node = Node::start(NEW, SUBNET)?;
    let running = start(&node, pod("enforce", "DaemonSet", 1)?)?;
    let (code, log) = detach(&node.kubelet)?;
    ensure!(code == 1 && log.contains("an agent is running"), "exit {code}: {log}");
    decided("refused", false)?;
    stop(&node, running)?;
    ensure!(Path::new(PINS).exists(), "enforcement did not survive the agent");
    decided("without an agent", false)?;
    let (code, log) = detach(&node.kubelet)?;
    ensure!(code == 0 && log.contains("Detached."), "exit {code}: {log}");
    ensure!(!Path::new(PINS).exists(), "{PINS} still exists");
    decided("detached", true)?;
    gate.remove()?;
    node.stop()?;
    Ok(Status::Passed)
}

fn own_profile(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let node = Node::start(OLD, SUBNET)?;
    let running = start(&node, pod("localhost", "DaemonSet", 1)?)?;
    decided("own profile", false)?;
    let log = running.log("agent")?;
    ensure!(!log.contains("WARN"), "it warns: {log}");
    stop(&node, running)?;
    end(node, Some(gate))
}
