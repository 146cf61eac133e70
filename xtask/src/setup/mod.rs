//! # Setup: what a fresh Debian 12 with a stable Rust toolchain lacks
//!
//! Every part is fetched or built once and cached.

mod apt;
mod bpftrace;
mod built;
mod cache;
mod container;
pub mod debian;
mod ebpf;
mod fixtures;
mod helm;
mod host;
mod kernels;
mod libraries;
mod matrix;
mod mirrors;
mod modules;
mod mutants;
mod nodes;
mod offsets;
mod prometheus;
mod seccomp;
pub mod toolroot;
mod unpack;
mod vmm;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use crate::{process, progress};
use apt::Apt;
pub use built::Recipe;
use cache::Cache;
pub use ebpf::EbpfTools;
pub use fixtures::Fixtures;
pub use kernels::{Kernel, Wanted};
pub use prometheus::{Prometheus, Release};
use toolroot::Toolroot;

/// The parts of a boot.
pub struct Rig {
    pub tools: Toolroot,
    /// For scenarios; the demo shows nothing of it.
    pub fixtures: Option<Fixtures>,
    /// QEMU as a VMM: paths in the guest and here.
    pub vmm: Vec<(String, PathBuf)>,
    /// For measurements, a folder with bpftrace and its libraries.
    pub bpftrace: Option<PathBuf>,
    /// To measure a change, a static guestreq from before it.
    pub before: Option<PathBuf>,
    /// Each with the modules built for it, oldest kernel first.
    pub kernels: Vec<(Kernel, Vec<PathBuf>)>,
}

/// Prepares the eBPF toolchain.
pub fn ebpf() -> Result<EbpfTools> {
    EbpfTools::ensure(&Cache::open()?)
}

/// cargo-mutants.
pub fn mutants() -> Result<PathBuf> {
    mutants::ensure(&Cache::open()?)
}

/// Prometheus' checker; fetched only if allowed.
pub fn promtool(release: Release, may_fetch: bool) -> Result<Option<PathBuf>> {
    let cached = |cache: &Cache| Some(Prometheus::cached(cache, release)?.promtool());
    let fetch = |cache: &Cache, apt: &Apt| Ok(Prometheus::ensure(cache, apt, release)?.promtool());
    // The machine's own may be of any version.
    let name = if release == Release::Two { "promtool" } else { "" };
    tool(name, may_fetch, cached, fetch)
}

/// Prometheus itself, without the rest of the rig.
pub fn prometheus(release: Release) -> Result<Prometheus> {
    let cache = Cache::open()?;
    Prometheus::ensure(&cache, &Apt::open(&cache)?, release)
}

/// The folder of VictoriaMetrics.
pub fn victoria_metrics() -> Result<PathBuf> {
    let cache = Cache::open()?;
    prometheus::victoria_metrics(&cache, &Apt::open(&cache)?)
}

/// kubectl; fetched only if allowed.
pub fn kubectl(may_fetch: bool) -> Result<Option<PathBuf>> {
    tool("kubectl", may_fetch, container::cached_kubectl, container::kubectl)
}

/// Helm; fetched only if allowed.
pub fn helm(may_fetch: bool) -> Result<Option<PathBuf>> {
    let cache = Cache::open()?;
    if may_fetch { helm::ensure(&cache).map(Some) } else { Ok(helm::cached(&cache)) }
}

/// The files of Kubernetes nodes: their paths in the guest and here.
pub fn nodes() -> Result<Vec<(String, PathBuf)>> {
    let cache = Cache::open()?;
    nodes::files(&cache, &Apt::open(&cache)?)
}

/// The cached program, or a fetched one if allowed, else the machine's own.
fn tool(
    name: &str,
    may_fetch: bool,
    cached: impl FnOnce(&Cache) -> Option<PathBuf>,
    fetch: impl FnOnce(&Cache, &Apt) -> Result<PathBuf>,
) -> Result<Option<PathBuf>> {
    let cache = Cache::open()?;
    if let Some(path) = cached(&cache) {
        return Ok(Some(path));
    }
    if may_fetch {
        return fetch(&cache, &Apt::open(&cache)?).map(Some);
    }
    Ok((!name.is_empty() && process::is_installed(name)).then(|| PathBuf::from(name)))
}

/// Prepares the rig.
pub fn rig(wanted: Wanted<'_>) -> Result<Rig> {
    prepare(wanted, true)
}

/// The same, for nothing but VMs.
pub fn rig_of_vms(pattern: &str) -> Result<Rig> {
    prepare(Wanted::Named(pattern), false)
}

fn prepare(wanted: Wanted<'_>, for_scenarios: bool) -> Result<Rig> {
    let start = Instant::now();
    let cache = Cache::open()?;
    host::ensure_rig(&cache)?;
    let apt = Apt::open(&cache)?;
    let tools = Toolroot::open(&cache)?;
    let fixtures = for_scenarios.then(|| Fixtures::ensure(&cache, &apt)).transpose()?;
    let vmm = match for_scenarios {
        true => vmm::all(&cache, &apt, &tools)?,
        false => vmm::of_toolroot(&tools)?,
    };
    let mut kernels = Vec::new();
    for kernel in kernels::prepare(&cache, &apt, &tools, wanted)? {
        let modules = modules::build(&cache, &tools, &kernel)?;
        kernels.push((kernel, modules));
    }
    progress::ready("setup", start);
    Ok(Rig { tools, fixtures, vmm, bpftrace: None, before: None, kernels })
}

/// A Debian host with this kernel.
pub fn debian(tools: &Toolroot, kernel: &Kernel) -> Result<PathBuf> {
    debian::ensure(&Cache::open()?, tools, kernel)
}

/// The same, with bpftrace.
pub fn rig_with_bpftrace(pattern: &str) -> Result<Rig> {
    let rig = rig(Wanted::Named(pattern))?;
    let cache = Cache::open()?;
    Ok(Rig { bpftrace: Some(bpftrace::ensure(&cache, &Apt::open(&cache)?)?), ..rig })
}
