//! # image: the container image, built without a container engine
//!
//! An archive in the OCI image layout for `skopeo copy oci-archive:…`, `podman load` and `ctr
//! images import`, from deploy/Containerfile. It is reproducible: the same binary gives the same
//! bytes.

mod layout;
mod recipe;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{dist, documentation, progress, project};
use layout::Layout;
use recipe::Recipe;

pub fn execute() -> Result<()> {
    archive().map(drop)
}

/// Builds the image and returns the path of its archive.
pub fn archive() -> Result<PathBuf> {
    dist::execute()?;
    let dist = project::target().join("dist");
    progress::step("image", "what the binary holds", || {
        let sbom = dist.join("guestreq.cdx.json");
        fs::write(&sbom, sbom::cyclonedx()?)
            .with_context(|| format!("cannot write {}", sbom.display()))
    })?;
    documentation::write(&dist.join("doc"))?;
    let recipe = Recipe::read(&project::root().join("deploy/Containerfile"))?;
    let archive = dist.join("guestreq.oci.tar");
    let image = Layout::of(&recipe, &dist)?;
    fs::write(&archive, image.archive(&recipe.tag())?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    let size = fs::metadata(&archive)?.len() as f64 / 1e6;
    println!("  {:<9}{} ({size:.1} MB, {})", "image", archive.display(), image.digest());
    Ok(archive)
}

/// The image of a pod's first container in the rig, which only waits for its end. Kubernetes' own is
/// in a registry; busybox is already in the rig.
pub fn pause(busybox: &Path) -> Result<PathBuf> {
    // The first process of a pid namespace gets only signals that it handles.
    let script = "trap 'exit 0' TERM; /busybox sleep inf & wait";
    let entrypoint = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    let copies = vec![("busybox".to_owned(), "busybox".to_owned())];
    let recipe = Recipe { copies, entrypoint, ..Recipe::default() };
    let image = Layout::of(&recipe, busybox.parent().context("no folder")?)?;
    let archive = project::logs().join("pause.oci.tar");
    fs::create_dir_all(project::logs())?;
    fs::write(&archive, image.archive("pause:1")?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(archive)
}
