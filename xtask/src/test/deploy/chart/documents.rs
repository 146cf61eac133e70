//! # README.md and the schema's descriptions are made of values.yaml's comments
//!
//! `UPDATE_DOCS=1 cargo test -p xtask` writes them.

use std::{env, fs};

use serde_json::Value;

use super::super::super::dashboards::read;
use super::values::{self, Documented};
use super::{SETS, folder};
use crate::project;

/// What follows this is generated.
const MARK: &str = "<!-- made of values.yaml: UPDATE_DOCS=1 cargo test -p xtask -->\n";

fn documented() -> Vec<Documented> {
    values::documented(&read(&folder().join("values.yaml")).unwrap()).unwrap()
}

/// Fails unless a file of the chart has this text.
fn assert_current(file: &str, text: &str) {
    let path = folder().join(file);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let current = read(&path).unwrap() == text;
    assert!(current, "{} is not current: UPDATE_DOCS=1 cargo test -p xtask", path.display());
}

/// A default as in a table; a text of several lines would not fit.
fn cell(default: &Value) -> String {
    match default {
        Value::String(text) if text.trim_end().contains('\n') => {
            "[values.yaml](values.yaml)".into()
        }
        default => format!("`{default}`"),
    }
}

#[test]
fn the_readme_lists_all_values() {
    let page = read(&folder().join("README.md")).unwrap();
    let (head, _) = page.split_once(MARK).expect("the mark of the generated part");
    let mut text = format!("{head}{MARK}\n| value | default | what it is |\n|---|---|---|\n");
    for value in documented() {
        text += &format!("| `{}` | {} | {} |\n", value.name(), cell(&value.default), value.text);
    }
    assert_current("README.md", &text);
}

/// An editor shows them.
#[test]
fn the_schema_describes_all_values() {
    let text = read(&folder().join("values.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    for value in documented() {
        let pointer: String = value.path.iter().map(|key| format!("/properties/{key}")).collect();
        let field = schema.pointer_mut(&pointer);
        let field = field.unwrap_or_else(|| panic!("values.schema.json has no {}", value.name()));
        field["description"] = value.text.into();
    }
    assert_current("values.schema.json", &format!("{schema:#}\n"));
}

/// A property that values.yaml does not have would have no default and no row in README.md.
#[test]
fn the_schema_has_no_other_values() {
    fn look(schema: &Value, path: &str, found: &mut Vec<String>) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}{key}");
            match below["properties"].is_object() && below["description"].is_null() {
                true => look(below, &format!("{path}."), found),
                false => found.push(path),
            }
        }
    }
    let text = read(&folder().join("values.schema.json")).unwrap();
    let mut found = Vec::new();
    look(&serde_json::from_str(&text).unwrap(), "", &mut found);
    // Helm's own, in a chart of charts.
    found.retain(|path| path != "global");
    let mut wanted: Vec<_> = documented().iter().map(Documented::name).collect();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn the_chart_has_the_version_of_the_workspace() {
    let chart: Value =
        serde_saphyr::from_str(&read(&folder().join("Chart.yaml")).unwrap()).unwrap();
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}

/// Also without Helm.
#[test]
fn policies_are_those_of_the_overlays() {
    let config = |file: &str| {
        let values: Value = serde_saphyr::from_str(&read(&folder().join(file)).unwrap()).unwrap();
        values["config"].as_str().unwrap().to_owned()
    };
    for (file, overlay) in [("values.yaml", "observe"), ("examples/enforce.yaml", "enforce")] {
        let path = project::root().join("deploy/kubernetes").join(overlay).join("config.toml");
        assert_eq!(config(file), read(&path).unwrap(), "{file}");
    }
}

/// An example that no set has would not be rendered.
#[test]
fn each_example_is_compared() {
    for entry in fs::read_dir(folder().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(SETS.iter().any(|set| set.examples.contains(&stem)), "{stem}");
    }
}
