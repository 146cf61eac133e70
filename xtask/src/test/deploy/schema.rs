//! # Schemas of Kubernetes' and operators' kinds
//!
//! deploy/kubernetes/schemas/schemas.json contains the parts that our objects use. This supports a
//! subset of JSON Schema, and any other keyword is an error.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use std::fs;

/// Keywords that restrict strings or numbers, which only the server checks.
const PASSED_OVER: &[&str] =
    &["format", "pattern", "minimum", "maximum", "minLength", "minItems", "maxItems"];

pub struct Schemas(Value);

impl Schemas {
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join("deploy/kubernetes/schemas/schemas.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self(serde_json::from_slice(&text).with_context(|| path.display().to_string())?))
    }

    /// Faults of an object with their paths.
    pub fn faults(&self, object: &Value) -> Vec<String> {
        let word = |name: &str| object[name].as_str().unwrap_or_default();
        let kind = format!("{}/{}", word("apiVersion"), word("kind"));
        let mut faults = Vec::new();
        match self.0["kinds"][&kind].as_str() {
            Some(name) => self.look(&self.0["$defs"][name], object, "", &mut faults),
            None => faults.push(format!(": no schema of {kind}")),
        }
        faults
    }

    fn look(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(words) = schema.as_object() else { return };
        for (word, wants) in words {
            match word.as_str() {
                "$ref" => {
                    let name = wants.as_str().and_then(|name| name.strip_prefix("#/$defs/"));
                    self.look(&self.0["$defs"][name.unwrap_or_default()], value, at, faults);
                }
                "type" if !is_of(wants, value) => faults.push(format!("{at}: is no {wants}")),
                "enum" if !wants.as_array().is_some_and(|all| all.contains(value)) => {
                    faults.push(format!("{at}: {value} is none of {wants}"));
                }
                "required" => {
                    let names = wants.as_array().into_iter().flatten().filter_map(Value::as_str);
                    let missing = names.filter(|name| value.is_object() && value[name].is_null());
                    faults.extend(missing.map(|name| format!("{at}: has no {name}")));
                }
                "oneOf" | "anyOf" => {
                    let fits = |schema: &Value| {
                        let mut faults = Vec::new();
                        self.look(schema, value, at, &mut faults);
                        faults.is_empty()
                    };
                    if !wants.as_array().is_some_and(|all| all.iter().any(fits)) {
                        faults.push(format!("{at}: {value} fits none of {wants}"));
                    }
                }
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.look(wants, item, &format!("{at}/{i}"), faults);
                    }
                }
                "properties" | "additionalProperties" | "type" | "enum" => {}
                word if PASSED_OVER.contains(&word) => {}
                _ => faults.push(format!("{at}: the schema says {word}, which is not supported")),
            }
        }
        for (name, field) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) | (None, schema @ Value::Object(_)) => {
                    self.look(schema, field, &at, faults);
                }
                (None, Value::Bool(false)) => faults.push(format!("{at}: there is no such field")),
                _ => {}
            }
        }
    }
}

/// Whether a value is of a type, or of one of several.
fn is_of(types: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        _ => false,
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::project;

    fn faults(change: impl FnOnce(&mut Value)) -> String {
        let mut job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j", "labels": {"a": "b"}},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "c", "ports": [{"containerPort": 1}]}],
            }}},
        });
        change(&mut job);
        Schemas::read(project::root()).unwrap().faults(&job).join("; ")
    }

    #[test]
    fn a_valid_object_passes() {
        assert_eq!(faults(|_| {}), "");
    }

    #[test]
    fn invalid_objects_are_reported_with_their_paths() {
        let pod = "/spec/template/spec";
        let set = |at: &'static str, value: Value| {
            faults(move |job| *job.pointer_mut(&format!("{pod}{at}")).unwrap() = value)
        };
        let misspelt = set("/containers/0", json!({"name": "c", "imagee": "x"}));
        assert_eq!(misspelt, format!("{pod}/containers/0/imagee: there is no such field"));
        assert_eq!(set("/containers/0", json!({})), format!("{pod}/containers/0: has no name"));
        assert!(set("/containers/0/ports/0/containerPort", json!("x")).contains("is no"));
        assert!(set("/containers", json!({"name": "c"})).contains("is no"));
        assert!(faults(|job| job["kind"] = "Jobb".into()).contains("no schema of batch/v1/Jobb"));
        assert!(faults(|job| job["metadata"]["labels"]["a"] = 1.into()).contains("/a: is no"));
    }
}
