//! # dist: the one file that a host needs, and kubectl's plugin

use std::fs;

use anyhow::{Context, Result};

use crate::{build, project};

pub fn execute() -> Result<()> {
    build::execute()?;
    let dir = project::target().join("dist");
    fs::create_dir_all(&dir)?;
    for name in ["guestreq", "kubectl-guestreq"] {
        let file = dir.join(name);
        fs::copy(project::static_binary(name), &file)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let size = fs::metadata(&file)?.len() as f64 / 1e6;
        println!("  {:<9}{} ({size:.1} MB, static)", "dist", file.display());
    }
    Ok(())
}
