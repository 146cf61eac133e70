//! # The rig's kernel modules, built for each kernel in the toolroot

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache::{Cache, digest};
use super::kernels::Kernel;
use super::offsets;
use super::toolroot::{Toolroot, WORK};
use crate::{process, project, say};

/// Directories with a module's sources; each makes a module of the directory's name.
const SOURCES: &[&str] = &["rig/snpsim"];

/// Builds every module for `kernel` and returns the paths of the `.ko` files.
pub fn build(cache: &Cache, tools: &Toolroot, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let offsets = offsets::header(kernel)?;
    SOURCES.iter().map(|dir| build_one(cache, tools, kernel, dir, &offsets)).collect()
}

fn build_one(
    cache: &Cache,
    tools: &Toolroot,
    kernel: &Kernel,
    dir: &str,
    offsets: &str,
) -> Result<PathBuf> {
    let sources = sources(&project::root().join(dir))?;
    let name = Path::new(dir).file_name().unwrap_or_default().to_string_lossy();
    let abi = &kernel.abi;
    let parts = sources.iter().flat_map(|(file, text)| [file.as_bytes(), text]);
    let key = digest(parts.chain([offsets.as_bytes(), abi.as_bytes()]));
    let built = cache.once(format!("modules/{name}-{abi}-{key}"), |part| {
        let work = part.join("build");
        fs::create_dir(&work)?;
        for (file, text) in &sources {
            fs::write(work.join(file), text)?;
        }
        fs::write(work.join("offsets.h"), offsets)?;
        say::step("module", &format!("{name} for {abi}"), || {
            let mut make = tools.command(&work, "make");
            make.args(["-C", &format!("/usr/src/linux-headers-{abi}"), &format!("M={WORK}")]);
            // Each kernel was built by its own release's compiler; one newer serves them all.
            make.args(["CC=gcc-14", "HOSTCC=gcc-14"]);
            // The module's own BTF would need pahole, and nothing reads it.
            make.args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]);
            process::logged(&mut make, &cache.log(&format!("{name}-{abi}.log")))
                .with_context(|| format!("cannot build {dir} for {abi}"))
        })?;
        let ko = format!("{name}.ko");
        fs::rename(work.join(&ko), part.join(&ko))
            .with_context(|| format!("{dir} does not make a {ko}"))?;
        super::cache::remove(&work)
    })?;
    Ok(built.join(format!("{name}.ko")))
}

/// A module's own files, by name: what is neither hidden nor made by a build.
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
