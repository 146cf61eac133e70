//! # The rig's kernel modules, built for each kernel in the toolroot

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache::{Cache, digest};
use super::kernels::Kernel;
use super::offsets;
use super::toolroot::{Toolroot, WORK};
use crate::{process, progress, project};

/// A module of this project.
struct Source {
    /// Its folder.
    dir: &'static str,
    /// The module's name without `.ko`.
    module: &'static str,
    /// Whether it needs an `offsets.h`.
    offsets: bool,
    /// Whether users build it, without xtask: it gets nothing that they would not give it.
    for_users: bool,
}

const SOURCES: &[Source] = &[
    Source { dir: "rig/snpsim", module: "snpsim", offsets: true, for_users: false },
    Source { dir: "rig/livepatch", module: "rig_livepatch", offsets: false, for_users: false },
    Source { dir: "gate", module: "guestreq_gate", offsets: false, for_users: true },
];

/// Builds every module for `kernel` and returns the paths of the `.ko` files.
pub fn build(cache: &Cache, tools: &Toolroot, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let offsets = offsets::header(kernel)?;
    SOURCES.iter().map(|source| build_one(cache, tools, kernel, source, &offsets)).collect()
}

fn build_one(
    cache: &Cache,
    tools: &Toolroot,
    kernel: &Kernel,
    &Source { dir, module, offsets: needs_offsets, for_users }: &Source,
    offsets: &str,
) -> Result<PathBuf> {
    let mut files = sources(&project::root().join(dir))?;
    if needs_offsets {
        files.push(("offsets.h".into(), offsets.into()));
    }
    let abi = &kernel.abi;
    let parts = files.iter().flat_map(|(file, text)| [file.as_bytes(), text]);
    let key = digest(parts.chain([kernel.key().as_encoded_bytes()]));
    let ko = format!("{module}.ko");
    let built = cache.once(format!("modules/{module}-{abi}-{key}"), |part| {
        let work = part.join("build");
        fs::create_dir(&work)?;
        for (file, text) in &files {
            fs::write(work.join(file), text)?;
        }
        progress::step("module", &format!("{module} for {abi}"), || {
            // The module's own Makefile, called as its users call it.
            let mut make = kernel.make(tools, &work, for_users);
            process::logged(make.args(["-C", WORK]), &cache.log(&format!("{module}-{abi}.log")))
                .with_context(|| format!("cannot build {dir} for {abi}"))
        })?;
        fs::rename(work.join(&ko), part.join(&ko))
            .with_context(|| format!("{dir} does not make a {ko}"))?;
        super::cache::remove(&work)
    })?;
    Ok(built.join(ko))
}

/// A module's source files: neither hidden nor built.
fn sources(dir: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = name.ends_with(".c") || name.ends_with(".h") || name.ends_with(".S");
        if (source || name == "Makefile" || name == "Kbuild") && !name.ends_with(".mod.c") {
            files.push((name, fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}
