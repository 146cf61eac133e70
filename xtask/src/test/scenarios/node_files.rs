//! # What only guests with Kubernetes nodes have

use std::path::PathBuf;

use anyhow::Result;

use crate::image;
use crate::setup::{self, Rig};

/// A guest's files: their paths in the guest and here.
pub type Files = Vec<(String, PathBuf)>;

/// Container runtimes, and the images of guestreq and of a pod's first container; made once for all
/// kernels.
pub fn node_files(made: &mut Option<Files>, rig: &Rig) -> Result<Files> {
    if made.is_none() {
        let mut files = setup::nodes()?;
        let busybox = rig.tools.path.join("usr/bin/busybox");
        files.push(("nodes/images/guestreq.tar".into(), image::archive()?));
        files.push(("nodes/images/pause.tar".into(), image::pause(&busybox)?));
        *made = Some(files);
    }
    Ok(made.clone().unwrap_or_default())
}
