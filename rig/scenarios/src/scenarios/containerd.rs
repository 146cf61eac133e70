//! # The DaemonSet under containerd
//!
//! A kubelet's calls (rig/cri) make containerd run the rendered DaemonSet's pod: from the image that
//! users build, with a network of its own, probed at its address.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rig_cri::{Pod, Running, get};
use serde_json::Value;

use crate::{
    exposition::Metrics,
    host::Firmware,
    load,
    node::{NEW, Node, OLD, prepare as prepare_node},
    scenario::{Context, Status, scenario},
};

scenario!(COUNTS_1: "containerd/counts_1.7" = |context| counts(context, OLD),
    "containerd 1.7 starts the DaemonSet's pod, which gets ready and counts as the firmware does");
scenario!(COUNTS_2: "containerd/counts_2" = |context| counts(context, NEW),
    "containerd 2 starts the DaemonSet's pod, which gets ready and counts as the firmware does");

const PORT: u16 = 9940;
const SUBNET: &str = "10.88.0.0/24";

/// An SNP host with what nodes need, and with the setting that the installation describes.
pub fn prepare() -> Result<()> {
    prepare_node()?;
    fs::write("/proc/sys/kernel/perf_event_paranoid", "2").context("perf_event_paranoid")
}

/// A pod of an object in a rendered overlay; the number tells pods apart.
fn pod(overlay: &str, kind: &str, number: u32) -> Result<Pod> {
    let path = format!("/lib/{overlay}.json");
    let objects: Vec<Value> =
        serde_json::from_slice(&fs::read(&path).context(path.clone())?).context(path)?;
    let uid = format!("5e71c0de-0000-4000-8000-{number:012}");
    Pod::of(&objects, kind, &format!("guestreq-{number}"), &uid)
}

fn scrape(running: &Running) -> Result<Metrics> {
    let address = format!("{}:{PORT}", running.ip);
    let (status, body) = get(&address, "/metrics", Duration::from_secs(60))?;
    ensure!(status == 200, "/metrics answers {status}: {body}");
    Ok(Metrics::parse(&body))
}

fn counts(_: &Context, name: &'static str) -> Result<Status> {
    let node = Node::start(name, SUBNET)?;
    let running = node.kubelet.start(pod("observe", "DaemonSet", 1)?)?;
    node.kubelet.wait_until_ready(&running)?;
    let before = Firmware::read()?;
    load::run("--vms 3 --processes --vmm qemu --name web --count 50 --type report,key")?;
    let firmware = Firmware::read()?.since(&before);
    let counted = scrape(&running)?.sum("guestreq_requests_total", &[]) as u64;
    ensure!(counted == firmware.guest_requests, "{counted} of {}", firmware.guest_requests);
    let codes = node.kubelet.stop(running)?;
    ensure!(codes.iter().all(|(_, code)| *code == 0), "{codes:?}");
    node.stop()?;
    Ok(Status::Passed)
}
