//! # What `helm uninstall` leaves behind to detach
//!
//! A DaemonSet whose pods do what the Job of deploy/kubernetes/detach does, on the agent's nodes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::of_object;
use super::super::schema::Schemas;
use super::compare::difference;
use super::{folder, with};
use crate::helm::{Helm, RELEASE};
use crate::{manifests, project};

/// The annotation of a hook, and one that is none.
const HOOK: (&str, &str) = ("helm.sh/hook", "example.com/hook");

pub fn check(
    helm: &mut Helm,
    version: &str,
    kubectl: &Path,
    schemas: &Schemas,
) -> Result<Vec<String>> {
    let chart = without_hooks()?;
    let objects =
        match helm.template(version, &chart, &with(json!({"affinity": {"nodeAffinity": {}}})))? {
            Ok(objects) => objects,
            Err(error) => return Ok(vec![format!("{version}: the hook: {error}")]),
        };
    let named = |name: &str| {
        let is = |o: &&Value| o["kind"] == "DaemonSet" && o["metadata"]["name"] == name;
        objects.iter().find(is).with_context(|| format!("{version}: no DaemonSet {name}"))
    };
    let (agent, hook) = (named(RELEASE)?, named("guestreq-detach")?);
    let mut faults = Vec::new();
    let annotations = &hook["metadata"]["annotations"];
    // The one of an earlier uninstall makes way for it; nothing else deletes it.
    let policy = &annotations["helm.sh/hook-delete-policy"];
    if annotations[HOOK.1] != "post-delete" || policy != "before-hook-creation" {
        faults.push(format!("{version}: the hook's annotations: {annotations}"));
    }
    let job = manifests::render(kubectl, "detach")?.pop().context("no Job")?;
    let (wanted, found) = (pod(&job, agent)?, &hook["spec"]["template"]["spec"]);
    if let Some(lines) = difference(&format!("{wanted:#}"), &format!("{found:#}")) {
        faults.push(format!("{version}: the hook's pod has {lines}"));
    }
    // The PodMonitor and both DaemonSets select by labels.
    if hook["spec"]["selector"] == agent["spec"]["selector"] {
        faults.push(format!("{version}: the hook selects the agent's pods"));
    }
    faults.extend(of_object(schemas, hook).map(|fault| format!("{version}: hook{fault}")));
    Ok(faults)
}

/// The pod of the DaemonSet that does what the Job does where the agent ran.
fn pod(job: &Value, agent: &Value) -> Result<Value> {
    let mut pod = job["spec"]["template"]["spec"].clone();
    let fields = pod.as_object_mut().context("no pod")?;
    let container = fields["containers"][0].clone();
    let mut rest = container.clone();
    rest["name"] = "detached".into();
    rest["args"] = json!(["detach", "--stay"]);
    fields.insert("initContainers".into(), json!([container]));
    fields.insert("containers".into(), json!([rest]));
    for only_of_jobs in ["nodeName", "restartPolicy"] {
        fields.remove(only_of_jobs);
    }
    for of_nodes in ["nodeSelector", "affinity", "tolerations"] {
        let same = agent["spec"]["template"]["spec"][of_nodes].clone();
        fields.insert(of_nodes.into(), same);
    }
    // Helm has deleted the agent's by then.
    fields.insert("serviceAccountName".into(), "default".into());
    Ok(pod)
}

/// A copy of the chart without hooks, as `helm template` here leaves them out.
fn without_hooks() -> Result<PathBuf> {
    let to = project::target().join("helm/without-hooks");
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    copy(&folder(), &to)?;
    let path = to.join("templates/detach.yaml");
    let text = fs::read_to_string(&path)?;
    let annotation = |name: &str| format!("{name}: ");
    fs::write(&path, text.replace(&annotation(HOOK.0), &annotation(HOOK.1)))?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}
