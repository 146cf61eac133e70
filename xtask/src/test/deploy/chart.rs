//! # The Helm chart must render what kustomize renders
//!
//! deploy/kubernetes is the source, with the reasons. The chart's templates are written by hand and
//! compared with it, as rendered by Helm 3 and Helm 4.

mod compare;
mod contradictions;
#[cfg(test)]
mod documents;
mod hook;
mod options;
#[cfg(test)]
mod values;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::schema::Schemas;
use crate::helm::{Helm, VERSIONS, Values};
use crate::project;

/// Values of the chart, and the overlays with the same objects.
struct Set {
    name: &'static str,
    examples: &'static [&'static str],
    overlays: &'static [&'static str],
}

const SETS: &[Set] = &[
    Set { name: "observe", examples: &[], overlays: &["observe"] },
    Set { name: "enforce", examples: &["enforce"], overlays: &["enforce"] },
    Set {
        name: "all",
        examples: &["enforce", "crio", "monitoring", "kmm"],
        // Localhost is a component of enforce.
        overlays: &["localhost", "prometheus-operator", "kmm"],
    },
];

pub fn check(helm: &Path, kubectl: &Path) -> Result<()> {
    let schemas = Schemas::read(project::root())?;
    let mut helm = Helm::start(helm)?;
    let mut faults = Vec::new();
    for version in VERSIONS {
        for set in SETS {
            let of = |fault| format!("helm lint, {version}, {}: {fault}", set.name);
            faults.extend(helm.lint(version, &folder(), &set.values())?.into_iter().map(of));
            faults.extend(compare::check(&mut helm, version, kubectl, set)?);
        }
        faults.extend(hook::check(&mut helm, version, kubectl, &schemas)?);
        faults.extend(options::check(&mut helm, version, &schemas)?);
        faults.extend(contradictions::check(&mut helm, version)?);
    }
    faults.extend(options::notes(&mut helm)?);
    match faults.is_empty() {
        true => Ok(()),
        false => bail!("{}", faults.join("; ")),
    }
}

fn folder() -> PathBuf {
    project::root().join("deploy/helm/guestreq")
}

impl Set {
    fn values(&self) -> Values {
        let file = |name: &&str| folder().join("examples").join(name).with_extension("yaml");
        Values { files: self.examples.iter().map(file).collect(), ..with(json!({})) }
    }
}

/// These values, and the image that the overlays have.
fn with(set: Value) -> Values {
    let mut all = json!({"image": {"repository": "registry.example.com/guestreq"}});
    merge(&mut all, set);
    Values { files: Vec::new(), set: all }
}

/// As Helm merges values.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
