//! # The Kubernetes manifests, as kubectl renders them

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{process, project};

/// Overlays below deploy/kubernetes.
pub const OVERLAYS: &[&str] =
    &["observe", "enforce", "prometheus-operator", "detach", "kmm", LOCALHOST];
/// A component, rendered with `enforce`.
const LOCALHOST: &str = "localhost";

/// An overlay's objects.
pub fn render(kubectl: &Path, overlay: &str) -> Result<Vec<Value>> {
    let all = project::root().join("deploy/kubernetes");
    let folder = match overlay {
        LOCALHOST => with_component(&all, overlay)?,
        _ => all.join(overlay),
    };
    let mut kustomize = Command::new(kubectl);
    let text = process::output(kustomize.arg("kustomize").arg(&folder))
        .with_context(|| format!("cannot render {}", folder.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("{overlay}: not what YAML is"))
}

/// An overlay with the component; kustomize takes relative paths only.
fn with_component(all: &Path, component: &str) -> Result<PathBuf> {
    let folder = project::target().join("kustomize").join(component);
    fs::create_dir_all(&folder)?;
    let (all, from) = (fs::canonicalize(all)?, fs::canonicalize(&folder)?);
    let up: PathBuf = from.components().skip(1).map(|_| "..").collect();
    let down = all.strip_prefix("/").context("not an absolute path")?;
    let relative = |name: &str| up.join(down).join(name).display().to_string();
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [{}]\n\
         components: [{}]\n",
        relative("enforce"),
        relative(component)
    );
    fs::write(folder.join("kustomization.yaml"), text)?;
    Ok(folder)
}
