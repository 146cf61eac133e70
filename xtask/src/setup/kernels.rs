//! # Fetching the matrix's kernels and their headers

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::cache::Cache;
use super::matrix::{Flavour, Kind, MATRIX};
use super::toolroot::Toolroot;
use super::unpack;
use crate::progress;

/// An unpacked kernel: `vmlinuz`, `btf/` and `modules/` are in its directory.
pub struct Kernel {
    pub abi: String,
    pub dir: PathBuf,
    flavour: Flavour,
}

impl Kernel {
    /// Whether it is built with PREEMPT_RT.
    pub fn is_realtime(&self) -> bool {
        self.flavour == Flavour::Realtime
    }
}

/// The matrix's kernels whose version starts with, or else contains, `pattern`.
pub fn prepare(
    cache: &Cache,
    apt: &Apt,
    tools: &Toolroot,
    pattern: Option<&str>,
) -> Result<Vec<Kernel>> {
    let mut chosen = Vec::new();
    for kind in MATRIX {
        chosen.push((kind, kind.abi(cache, apt)?));
    }
    if let Some(pattern) = pattern {
        let starts = chosen.iter().any(|(_, abi)| abi.starts_with(pattern));
        let known = chosen.iter().map(|(_, abi)| abi.as_str()).collect::<Vec<_>>().join(", ");
        chosen.retain(
            |(_, abi)| if starts { abi.starts_with(pattern) } else { abi.contains(pattern) },
        );
        if chosen.is_empty() {
            bail!("no kernel matches --kernel {pattern}; there are {known}");
        }
    }
    chosen.into_iter().map(|(kind, abi)| fetch(cache, apt, tools, kind, abi)).collect()
}

fn fetch(cache: &Cache, apt: &Apt, tools: &Toolroot, kind: &Kind, abi: String) -> Result<Kernel> {
    let get = |abi: &str| {
        let dir = cache.once(format!("kernels/{abi}"), |part| {
            progress::step("fetch", &format!("linux-image-{abi}"), || image(apt, tools, abi, part))
        })?;
        let flavour = kind.flavour();
        headers(cache, apt, tools, abi, flavour)?;
        anyhow::Ok(Kernel { abi: abi.to_string(), dir, flavour })
    };
    get(&abi).or_else(|error| {
        // The archive may have dropped this version since the index was fetched.
        progress::note(&format!("{error:#}"));
        let Err(offline) = apt.refresh() else { return get(&kind.abi(cache, apt)?) };
        let kept = kind.newest_kept(cache).ok_or(offline)?;
        progress::note(&format!("using the older {kept} from the cache"));
        get(&kept)
    })
}

/// Unpacks the kernel and those of its modules that the rig loads.
fn image(apt: &Apt, tools: &Toolroot, abi: &str, dest: &Path) -> Result<()> {
    // Since 7.0 linux-image is empty, and these two have its content.
    let split = [format!("linux-binary-{abi}"), format!("linux-modules-{abi}")];
    let mut packages = vec![format!("linux-image-{abi}")];
    packages.extend(
        apt.offers("linux-", |p| split.iter().any(|s| s == p))?.into_iter().map(|o| o.package),
    );
    packages.dedup();
    let tree = dest.join("tree");
    fs::create_dir(&tree)?;
    apt.unpack(&packages, &tree)?;
    unpack::kernel(tools, &tree, dest)?;
    super::cache::remove(&tree)
}

/// Unpacks build tools and headers into the toolroot, under their own paths.
fn headers(cache: &Cache, apt: &Apt, tools: &Toolroot, abi: &str, flavour: Flavour) -> Result<()> {
    let usr = tools.path.join("usr");
    if usr.join("src").join(format!("linux-headers-{abi}")).exists() {
        return Ok(());
    }
    let part = cache.path("part/headers");
    super::cache::remove(&part)?;
    fs::create_dir_all(&part)?;
    progress::step("fetch", &format!("linux-headers-{abi}"), || {
        let packages = flavour.headers(abi);
        apt.unpack(&packages, &part)?;
        let [kbuild, common, own] = packages;
        // The package's own directory last, as its presence is checked above.
        for (sub, name) in [("lib", kbuild), ("src", common), ("src", own)] {
            let to = usr.join(sub).join(&name);
            super::cache::remove(&to)?;
            fs::rename(part.join("usr").join(sub).join(&name), &to)
                .with_context(|| format!("package {name} has no /usr/{sub}/{name}"))?;
        }
        super::cache::remove(&part)
    })
}
