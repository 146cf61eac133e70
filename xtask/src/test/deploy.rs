//! # The Kubernetes manifests must be valid
//!
//! Each overlay is rendered as by `kubectl apply -k`, and each object checked against the published
//! schemas, where an unknown field is an error. Generated manifests are compared with their
//! sources.

pub mod chart;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod rollout;
mod schema;

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{manifests, project};
use schema::Schemas;

/// A label that every object has.
const NAME: &str = "/metadata/labels/app.kubernetes.io~1name";

pub fn check(kubectl: &Path) -> Result<()> {
    let schemas = Schemas::read(project::root())?;
    let mut faults = Vec::new();
    for overlay in manifests::OVERLAYS {
        for object in manifests::render(kubectl, overlay)? {
            let name = format!("{overlay}: {} {}", object["kind"], object["metadata"]["name"]);
            faults.extend(of_object(&schemas, &object).map(|fault| format!("{name}{fault}")));
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => bail!("{}", faults.join("; ")),
    }
}

fn of_object(schemas: &Schemas, object: &Value) -> impl Iterator<Item = String> {
    let mut faults = schemas.faults(object);
    // Others' object, which a component of ours changes.
    let is_ours = object["metadata"]["name"] != "node-problem-detector";
    if is_ours && object.pointer(NAME) != Some(&Value::from("guestreq")) {
        faults.push(": has no label app.kubernetes.io/name: guestreq".into());
    }
    // No placeholder and no moving tag.
    for list in ["initContainers", "containers"] {
        for container in object["spec"]["template"]["spec"][list].as_array().into_iter().flatten() {
            if container["name"] == "node-problem-detector" {
                continue;
            }
            let image = container["image"].as_str().unwrap_or_default();
            if !image.ends_with(concat!("/guestreq:", env!("CARGO_PKG_VERSION"))) {
                faults.push(format!(": its image is {image}, not this version's"));
            }
        }
    }
    faults.into_iter()
}
