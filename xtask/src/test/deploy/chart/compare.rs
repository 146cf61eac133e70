//! # Helm's and kustomize's objects, compared
//!
//! Both are left in target/helm, for `diff`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Set, folder};
use crate::helm::Helm;
use crate::{manifests, project};

/// Labels that charts have; kustomize adds none of its own.
const OF_HELM: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// How the objects differ, if they do.
pub fn check(helm: &mut Helm, version: &str, kubectl: &Path, set: &Set) -> Result<Option<String>> {
    let rendered = match helm.template(version, &folder(), &set.values())? {
        Ok(objects) => objects,
        Err(error) => return Ok(Some(format!("{version} does not render {}: {error}", set.name))),
    };
    let mut wanted = Vec::new();
    for overlay in set.overlays {
        wanted.extend(manifests::render(kubectl, overlay)?);
    }
    // Helm stores the release in the namespace, so it must exist before.
    wanted.retain(|object| object["kind"] != "Namespace");
    let folder = project::target().join("helm");
    fs::create_dir_all(&folder)?;
    let write = |by: &str, objects| {
        let path = folder.join(format!("{}.{by}.json", set.name));
        let text = canonical(objects)?;
        fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>((path, text))
    };
    let (wanted, found) = (write("kustomize", wanted)?, write(version, rendered)?);
    let (paths, texts) = ((wanted.0, found.0), (wanted.1, found.1));
    Ok(difference(&texts.0, &texts.1).map(|line| {
        let (wanted, found) = (paths.0.display(), paths.1.display());
        format!("{line}, and maybe more: diff {wanted} {found}")
    }))
}

/// The first lines that differ.
pub fn difference(wanted: &str, found: &str) -> Option<String> {
    let mut lines = (wanted.lines(), found.lines());
    loop {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => return None,
            (wanted, found) if wanted == found => {}
            (wanted, found) => {
                let line = |line: Option<&str>| line.unwrap_or("nothing").trim().to_owned();
                return Some(format!("{} instead of {}", line(found), line(wanted)));
            }
        }
    }
}

/// The objects with sorted keys, in the order of their kinds and names, without [`OF_HELM`].
fn canonical(mut objects: Vec<Value>) -> Result<String> {
    let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    objects.sort_by_key(name);
    objects.iter_mut().for_each(strip);
    Ok(serde_json::to_string_pretty(&objects)? + "\n")
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !OF_HELM.contains(&key.as_str()));
            if let Some(Value::String(text)) = fields.get_mut("expr") {
                // kustomize adds some to folded text; they mean nothing to Prometheus.
                *text = text.replace("\n\n", "\n");
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_order_and_labels_of_helm_make_no_difference() {
        let object = |name: &str, label: &str, value: u8| json!({"kind": "K", "metadata": {"name": name, "labels": {label: "x"}}, "a": value});
        let wanted = vec![object("1", "helm.sh/chart", 1), object("2", "helm.sh/chart", 1)];
        let found = vec![
            object("2", "app.kubernetes.io/version", 1),
            object("1", "app.kubernetes.io/instance", 1),
        ];
        let compare = |wanted: &[Value], found: &[Value]| {
            let text = |objects: &[Value]| canonical(objects.to_vec()).unwrap();
            difference(&text(wanted), &text(found))
        };
        assert_eq!(compare(&wanted, &found), None);
        let other = [found[0].clone(), object("1", "app.kubernetes.io/name", 1)];
        assert!(compare(&wanted, &other).unwrap().contains("\"labels\""));
        let other = [found[0].clone(), object("1", "helm.sh/chart", 2)];
        assert_eq!(compare(&wanted, &other).unwrap(), "\"a\": 2, instead of \"a\": 1,");
        assert!(compare(&wanted, &found[..1]).is_some() && compare(&found[..1], &wanted).is_some());
    }
}
