//! # Enforcement by the DaemonSet's pod

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rig_cri::{Kubelet, Running, project};

use super::{TIMEOUT, on_node, pod, scrape, start, stop};
use crate::{
    agent::json,
    gate::Gate,
    host::{Firmware, wait_until},
    load,
    node::{NEW, Node, OLD},
    scenario::{Context, scenario},
    scenarios::{
        daemonset::decided, enforce::disallowed_that_reached, takeover::PINS, vcpu_backend::STOP,
    },
};

scenario!(CONFIG_MAP_1: "containerd/config_map_1" = |_: &Context| on_node(OLD, config_map),
    "under containerd 1 the pod's policy is the ConfigMap's, also after a change of it");
scenario!(CONFIG_MAP_2: "containerd/config_map_2" = |_: &Context| on_node(NEW, config_map),
    "under containerd 2 the pod's policy is the ConfigMap's, also after a change of it");
scenario!(VCPU: "containerd/vcpu" = |_: &Context| on_node(NEW, vcpu),
    "the pod enforces with the backend vcpu, too");
scenario!(REPLACED: "containerd/replaced" = |_: &Context| on_node(NEW, replaced),
    "no disallowed request passes while a pod is replaced, and the new one takes over");
scenario!(DETACHED: "containerd/detached" = |_: &Context| on_node(NEW, detached),
    "the detach Job refuses while the agent runs, and then removes what enforces");
scenario!(OWN_PROFILE: "containerd/own_profile" = |_: &Context| on_node(OLD, own_profile),
    "the pod works under its own seccomp profile, from kubelet's folder");

/// Runs the detach Job's pod: its exit code and log.
pub fn detach(kubelet: &Kubelet) -> Result<(i32, String)> {
    let running = kubelet.start(pod("detach", "Job")?)?;
    let code = kubelet.wait_for(&running, "detach")?;
    let log = running.log("detach")?;
    kubelet.stop(running)?;
    Ok((code, log))
}

/// Ends enforcement.
pub fn end(node: &Node, gate: Option<Gate>) -> Result<()> {
    let (code, log) = detach(&node.kubelet)?;
    ensure!(code == 0, "the Job exits {code}: {log}");
    ensure!(!Path::new(PINS).exists(), "{PINS} still exists");
    gate.map_or(Ok(()), Gate::remove)
}

/// Changes the ConfigMap and waits until the agent has read it.
fn reloads(running: &mut Running, config: &str, successful: bool) -> Result<()> {
    let map = running.pod.config_maps.get_mut("guestreq").context("no ConfigMap")?;
    map["config.toml"] = config.into();
    let reloaded = |running: &Running| -> Result<usize> {
        Ok(running.log("agent")?.matches("configuration reloaded").count())
    };
    let before = reloaded(running)?;
    project(&running.pod)?;
    let what = format!("the ConfigMap is read, {config:?}");
    wait_until(&what, TIMEOUT, || {
        let last = scrape(running)?.sum("guestreq_config_last_reload_successful", &[]) as u8;
        Ok(last == u8::from(successful) && (!successful || reloaded(running)? > before))
    })
}

fn config_map(node: &Node) -> Result<()> {
    let gate = Gate::load(&[])?;
    let mut running = start(node, pod("enforce", "DaemonSet")?)?;
    decided("first", false)?;
    let given = running.pod.config_maps["guestreq"]["config.toml"].clone();
    reloads(&mut running, "mode = \"enforce\"\nallow = [\"report\", \"export\"]\n", true)?;
    decided("allowed", true)?;
    reloads(&mut running, "mode = \"enforce\"\nallow = [\"exprot\"]\n", false)?;
    decided("broken", true)?;
    reloads(&mut running, given.as_str().context("no text")?, true)?;
    decided("mended", false)?;
    // On the host and by `kubectl exec`, as the socket is the host's.
    let seen = json("psp")?;
    let inside = node.kubelet.exec(&running, "agent", &["/guestreq", "psp", "-o", "json"])?;
    let inside: serde_json::Value = serde_json::from_str(&inside)?;
    ensure!(seen["asids"].is_object() && inside["asids"] == seen["asids"], "{inside} {seen}");
    stop(node, running)?;
    end(node, Some(gate))
}

fn vcpu(node: &Node) -> Result<()> {
    let mut wanted = pod("enforce", "DaemonSet")?;
    let map = wanted.config_maps.get_mut("guestreq").context("no ConfigMap")?;
    let config = "mode = \"enforce\"\nbackend = \"vcpu\"\nallow = [\"report\"]\n";
    // Held, its vCPU would never end.
    map["config.toml"] = format!("{config}{STOP}").into();
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
    stop(node, running)?;
    end(node, None)
}

fn replaced(node: &Node) -> Result<()> {
    let gate = Gate::load(&[])?;
    let old = start(node, pod("enforce", "DaemonSet")?)?;
    let before = Firmware::read()?;
    let flood = load::start("--vmm qemu --name flood --type export --rate 50 --seconds 600")?;
    // Every phase sees requests.
    let denied = |phase: &str| {
        let so_far = gate.counts()?.denied;
        wait_until(&format!("{phase} denies"), TIMEOUT, || Ok(gate.counts()?.denied > so_far + 20))
    };
    denied("the old pod")?;
    stop(node, old)?;
    denied("no pod")?;
    let new = start(node, pod("enforce", "DaemonSet")?)?;
    denied("the new pod")?;
    let log = new.log("agent")?;
    ensure!(log.contains("took over lsm/file_ioctl"), "{log}");
    let seen = flood.stop()?;
    let reached = disallowed_that_reached(&Firmware::read()?.since(&before));
    ensure!(reached == 0, "{reached} of {} exports reached the PSP", seen.requests);
    println!("{} exports were denied during the replacement", seen.requests);
    stop(node, new)?;
    end(node, Some(gate))
}

fn detached(node: &Node) -> Result<()> {
    let gate = Gate::load(&[])?;
    let running = start(node, pod("enforce", "DaemonSet")?)?;
    let (code, log) = detach(&node.kubelet)?;
    ensure!(code == 1 && log.contains("an agent is running"), "exit {code}: {log}");
    decided("refused", false)?;
    stop(node, running)?;
    ensure!(Path::new(PINS).exists(), "enforcement did not survive the agent");
    decided("without-an-agent", false)?;
    let (code, log) = detach(&node.kubelet)?;
    ensure!(code == 0 && log.contains("Detached."), "exit {code}: {log}");
    ensure!(!Path::new(PINS).exists(), "{PINS} still exists");
    decided("detached", true)?;
    gate.remove()
}

fn own_profile(node: &Node) -> Result<()> {
    let gate = Gate::load(&[])?;
    let running = start(node, pod("localhost", "DaemonSet")?)?;
    decided("own-profile", false)?;
    let log = running.log("agent")?;
    ensure!(!log.contains("WARN"), "it warns: {log}");
    stop(node, running)?;
    end(node, Some(gate))
}
