//! # Fetching the matrix's kernels and their headers, or building a kernel

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::built::{self, RECIPES, Recipe};
use super::cache::Cache;
use super::matrix::{Flavour, Kind, MATRIX};
use super::toolroot::{BESIDE, Toolroot};
use super::unpack;
use crate::progress;

/// A kernel: `vmlinuz`, `btf/` and `modules/` are in its directory.
pub struct Kernel {
    pub abi: String,
    pub dir: PathBuf,
    origin: Origin,
}

enum Origin {
    Debian(&'static Kind),
    Built(&'static Recipe, Toolroot),
}

impl Kernel {
    /// Whether it is built with PREEMPT_RT.
    pub fn is_realtime(&self) -> bool {
        matches!(self.origin, Origin::Debian(kind) if kind.flavour() == Flavour::Realtime)
    }

    /// The suites of Debian that have it, unless it was built here.
    pub fn suites(&self) -> &'static [&'static str] {
        match &self.origin {
            Origin::Debian(kind) => kind.suites(),
            Origin::Built(..) => &[],
        }
    }

    /// How it was built, unless by Debian.
    pub fn recipe(&self) -> Option<&'static Recipe> {
        match &self.origin {
            Origin::Debian(_) => None,
            Origin::Built(recipe, _) => Some(recipe),
        }
    }

    /// make, in `work`, for modules of this kernel. `finds_compiler`: their Makefile finds clang by
    /// itself where the kernel was built by it.
    pub fn make(&self, tools: &Toolroot, work: &Path, finds_compiler: bool) -> Command {
        match &self.origin {
            Origin::Debian(_) => {
                let mut make = tools.command(work, "make");
                make.arg(format!("KDIR=/usr/src/linux-headers-{}", self.abi));
                // One newer compiler serves all kernels.
                make.args(["CC=gcc-14", "HOSTCC=gcc-14"]);
                make
            }
            Origin::Built(recipe, tools) => {
                let mut make = tools.command_beside(work, &self.dir.join(built::BUILD), "make");
                make.arg(format!("KDIR={BESIDE}"));
                if !(finds_compiler && recipe.is_by_clang()) {
                    make.args(recipe.compiler);
                }
                if recipe.is_debug {
                    // Each source file is also checked by sparse, whose warnings are errors.
                    make.args(["C=2", "CF=-Wsparse-error"]);
                }
                make
            }
        }
    }

    /// Tells it from other builds of its version.
    pub fn key(&self) -> &OsStr {
        self.dir.file_name().unwrap_or(self.dir.as_os_str())
    }
}

/// Which kernels to prepare.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The kernel that is built by this name; or the matrix's whose version starts with, or else
    /// contains, it.
    Named(&'a str),
    /// The matrix's that run on every change.
    EveryChange,
    /// All of the matrix.
    Nightly,
}

pub fn prepare(
    cache: &Cache,
    apt: &Apt,
    tools: &Toolroot,
    wanted: Wanted<'_>,
) -> Result<Vec<Kernel>> {
    let pattern = match wanted {
        Wanted::Named(pattern) => Some(pattern),
        Wanted::EveryChange | Wanted::Nightly => None,
    };
    if let Some(recipe) = pattern.and_then(built::find) {
        let tools = Toolroot::for_kernels(cache, recipe.compiler_packages)?;
        let dir = recipe.build(cache, apt, &tools)?;
        let abi = built::release(&dir)?;
        return Ok(vec![Kernel { abi, dir, origin: Origin::Built(recipe, tools) }]);
    }
    let mut chosen = Vec::new();
    let is_wanted = |kind: &&Kind| !(kind.is_nightly() && matches!(wanted, Wanted::EveryChange));
    for kind in MATRIX.iter().filter(is_wanted) {
        chosen.push((kind, kind.abi(cache, apt)?));
    }
    if let Some(pattern) = pattern {
        let starts = chosen.iter().any(|(_, abi)| abi.starts_with(pattern));
        let known = chosen.iter().map(|(_, abi)| abi.as_str());
        let known: Vec<_> = known.chain(RECIPES.iter().map(|recipe| recipe.name)).collect();
        let known = known.join(", ");
        chosen.retain(
            |(_, abi)| if starts { abi.starts_with(pattern) } else { abi.contains(pattern) },
        );
        if chosen.is_empty() {
            bail!("no kernel matches --kernel {pattern}; there are {known}");
        }
    }
    chosen.into_iter().map(|(kind, abi)| fetch(cache, apt, tools, kind, abi)).collect()
}

fn fetch(
    cache: &Cache,
    apt: &Apt,
    tools: &Toolroot,
    kind: &'static Kind,
    abi: String,
) -> Result<Kernel> {
    let get = |abi: &str| {
        let name = format!("kernels/{abi}");
        let fill = |part: &Path| {
            progress::step("fetch", &format!("linux-image-{abi}"), || image(apt, tools, abi, part))
        };
        let dir = if unpack::is_outdated(&cache.path(&name)) {
            cache.renew(name, fill)?
        } else {
            cache.once(name, fill)?
        };
        let flavour = kind.flavour();
        headers(cache, apt, tools, abi, flavour)?;
        anyhow::Ok(Kernel { abi: abi.to_string(), dir, origin: Origin::Debian(kind) })
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
    // Since 7.0 linux-image is empty, and these have its content.
    let split = ["binary", "modules", "base"].map(|part| format!("linux-{part}-{abi}"));
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
