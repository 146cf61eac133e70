//! # The Kubernetes manifests, as kubectl renders them

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{process, project};

/// Overlays and components below deploy/kubernetes.
pub const OVERLAYS: &[&str] = &[
    "observe",
    "enforce",
    "prometheus-operator",
    "detach",
    "kmm",
    "kubectl",
    "localhost",
    "nfd",
    DETECTOR,
];
/// Components, and the overlay that each is rendered with.
const COMPONENTS: &[(&str, &str)] = &[("localhost", "enforce"), ("nfd", "observe")];
/// A component of others' DaemonSet.
const DETECTOR: &str = "node-problem-detector";
/// What a component needs of Node Problem Detector's own manifests.
const DETECTOR_STAND_IN: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: node-problem-detector
  namespace: kube-system
spec:
  selector: {matchLabels: {app: node-problem-detector}}
  template:
    metadata: {labels: {app: node-problem-detector}}
    spec:
      containers:
        - name: node-problem-detector
          image: registry.k8s.io/node-problem-detector
          command: [/node-problem-detector, --logtostderr]
          volumeMounts: [{name: log, mountPath: /var/log, readOnly: true}]
      volumes: [{name: log, hostPath: {path: /var/log}}]
";

/// An overlay's objects.
pub fn render(kubectl: &Path, overlay: &str) -> Result<Vec<Value>> {
    let all = project::root().join("deploy/kubernetes");
    let component = COMPONENTS.iter().find(|(component, _)| *component == overlay);
    let folder = match component {
        Some((component, base)) => with_component(&all, component, Some(base))?,
        None if overlay == DETECTOR => with_component(&all, overlay, None)?,
        None => all.join(overlay),
    };
    let mut kustomize = Command::new(kubectl);
    let text = process::output(kustomize.arg("kustomize").arg(&folder))
        .with_context(|| format!("cannot render {}", folder.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("{overlay}: not what YAML is"))
}

/// An overlay, or else Node Problem Detector, with the component; kustomize takes relative paths only.
fn with_component(all: &Path, component: &str, base: Option<&str>) -> Result<PathBuf> {
    let folder = project::target().join("kustomize").join(component);
    fs::create_dir_all(&folder)?;
    let (all, from) = (fs::canonicalize(all)?, fs::canonicalize(&folder)?);
    let up: PathBuf = from.components().skip(1).map(|_| "..").collect();
    let down = all.strip_prefix("/").context("not an absolute path")?;
    let relative = |name: &str| up.join(down).join(name).display().to_string();
    let base = match base {
        Some(base) => relative(base),
        None => {
            fs::write(folder.join("stand-in.yaml"), DETECTOR_STAND_IN)?;
            "stand-in.yaml".to_owned()
        }
    };
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [{}]\n\
         components: [{}]\n",
        base,
        relative(component)
    );
    fs::write(folder.join("kustomization.yaml"), text)?;
    Ok(folder)
}
