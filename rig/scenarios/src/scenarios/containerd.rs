//! # The DaemonSet under containerd
//!
//! A kubelet's calls (rig/cri) make containerd run the rendered DaemonSet's pod: from the image that
//! users build, with a network of its own, probed at its address.

mod bad_input;
mod confined;
mod enforced;
mod two;

use std::{
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rig_cri::{Pod, Running, get};
use serde_json::Value;

use super::podman;
use crate::{
    exposition::Metrics,
    host::Firmware,
    load,
    node::{self, NEW, Node, OLD},
    scenario::{Context, Group, Needs, Status, scenario},
};

scenario!(COUNTS_1: "containerd/counts_1" = |_: &Context| on_node(OLD, counts),
    "containerd 1 starts the DaemonSet's pod, which gets ready and counts as the firmware does");
scenario!(COUNTS_2: "containerd/counts_2" = |_: &Context| on_node(NEW, counts),
    "containerd 2 starts the DaemonSet's pod, which gets ready and counts as the firmware does");

pub const GROUP: Group = Group {
    name: "containerd",
    memory_mib: 3072,
    needs: Needs::Nodes,
    long: true,
    prepare,
    once: &[
        COUNTS_1,
        COUNTS_2,
        confined::CONFINED_1,
        confined::CONFINED_2,
        enforced::CONFIG_MAP_1,
        enforced::CONFIG_MAP_2,
        enforced::VCPU,
        enforced::REPLACED,
        enforced::DETACHED,
        enforced::OWN_PROFILE,
        bad_input::MISSING_IMAGE,
        two::TWO,
        podman::OWN_PROFILE,
        podman::DEFAULT_PROFILE,
        bad_input::NO_CGROUP_V2,
    ],
    ..Group::DEFAULT
};

const PORT: u16 = 9940;
const TIMEOUT: Duration = Duration::from_secs(60);

/// An SNP host with what nodes need, and with the setting that the installation describes.
fn prepare() -> Result<()> {
    node::prepare()?;
    fs::write("/proc/sys/kernel/perf_event_paranoid", "2").context("perf_event_paranoid")
}

/// A pod of an object in a rendered overlay.
fn pod(overlay: &str, kind: &str) -> Result<Pod> {
    let path = format!("/lib/{overlay}.json");
    let objects: Vec<Value> =
        serde_json::from_slice(&fs::read(&path).context(path.clone())?).context(path)?;
    let (number, uid) = new_uid();
    Pod::of(&objects, kind, &format!("guestreq-{number}"), &uid)
}

/// A number and a UID that no other pod has: a runtime reserves their names.
fn new_uid() -> (u32, String) {
    static PODS: AtomicU32 = AtomicU32::new(1);
    let number = PODS.fetch_add(1, Ordering::Relaxed);
    (number, format!("5e71c0de-0000-4000-8000-{number:012}"))
}

fn scrape(running: &Running) -> Result<Metrics> {
    let (status, body) = get(&format!("{}:{PORT}", running.ip), "/metrics", TIMEOUT)?;
    ensure!(status == 200, "/metrics answers {status}: {body}");
    Ok(Metrics::parse(&body))
}

/// Starts a pod of the DaemonSet and waits until it is ready. Its first container must have found
/// nothing to complain about.
fn start(node: &Node, pod: Pod) -> Result<Running> {
    let running = node.kubelet.start(pod)?;
    let found = running.log("doctor")?;
    ensure!(found.lines().any(|line| line.starts_with("0 failed,")), "{found}");
    node.kubelet.wait_until_ready(&running)?;
    node.kubelet.probe(&running, "livenessProbe")?;
    Ok(running)
}

/// Ends a pod, whose containers must end in time by themselves.
fn stop(node: &Node, running: Running) -> Result<()> {
    let codes = node.kubelet.stop(running)?;
    ensure!(codes.iter().all(|(_, code)| *code == 0), "exit codes {codes:?}");
    Ok(())
}

/// Runs a check on a node, which then stays up for the next one; unless the check fails, as what it
/// has left would disturb others.
fn on_node(name: &'static str, check: impl FnOnce(&Node) -> Result<()>) -> Result<Status> {
    let kept = nodes().iter().position(|node| node.name == name);
    let kept = kept.map(|at| nodes().swap_remove(at));
    let node = kept.map_or_else(|| Node::start(name), Ok)?;
    check(&node)?;
    nodes().push(node);
    Ok(Status::Passed)
}

/// The nodes that are up and not in use.
fn nodes() -> MutexGuard<'static, Vec<Node>> {
    static NODES: Mutex<Vec<Node>> = Mutex::new(Vec::new());
    // After a panic it still has whole nodes.
    NODES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn counts(node: &Node) -> Result<()> {
    println!("containerd {}", node.kubelet.runtime.version()?);
    let running = start(node, pod("observe", "DaemonSet")?)?;
    let counted = || Ok::<_, anyhow::Error>(scrape(&running)?.sum("guestreq_requests_total", &[]));
    let (before, counted_before) = (Firmware::read()?, counted()?);
    load::run("--vms 3 --processes --vmm qemu --name web --count 50 --type report,key")?;
    let answered = Firmware::read()?.since(&before).guest_requests;
    let counted = (counted()? - counted_before) as u64;
    ensure!(counted == answered && answered >= 150, "{counted} of {answered}");
    let log = running.log("agent")?;
    ensure!(!log.contains("WARN"), "it warns: {log}");
    stop(node, running)
}
