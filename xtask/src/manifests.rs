//! # The Kubernetes manifests, as kubectl renders them

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{process, project};

/// What people apply, below deploy/kubernetes.
pub const OVERLAYS: &[&str] = &["observe", "enforce", "prometheus-operator", "detach", "kmm"];

/// An overlay's objects.
pub fn render(kubectl: &Path, overlay: &str) -> Result<Vec<Value>> {
    let folder = project::root().join("deploy/kubernetes").join(overlay);
    let mut kustomize = Command::new(kubectl);
    let text = process::output(kustomize.arg("kustomize").arg(&folder))
        .with_context(|| format!("cannot render {}", folder.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("{overlay}: not what YAML is"))
}
