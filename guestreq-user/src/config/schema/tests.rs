use std::{env, fs};

use serde_json::Value;

use super::{
    of_config, of_policy_file,
    older::{grown, lost},
};
use crate::docs::{assert_current, root};

pub const CONFIG: &str = "docs/schema/config.schema.json";
const POLICY_FILE: &str = "docs/schema/policy.schema.json";

#[test]
fn the_schemas_are_current_and_older_files_stay_valid() {
    for (page, schema) in [(CONFIG, of_config()), (POLICY_FILE, of_policy_file())] {
        let path = root().join(page);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Ok(text) = fs::read_to_string(&path) {
            let old: Value = serde_json::from_str(&text).unwrap();
            let lost = lost(&old, &schema, "").join(", ");
            let why = "older files would become invalid: continue to accept it, or delete the schema \
                       first and list it in CHANGELOG.md as a breaking change";
            assert!(lost.is_empty(), "{page}: {lost}: {why}");
            let grown = grown(page, &old, &schema);
            assert!(grown.is_none() || env::var_os("UPDATE_DOCS").is_some(), "{}", grown.unwrap());
        }
        assert_current(page, &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
    }
}

/// Calls a function with each key of a schema and its place.
pub fn each_key(schema: &Value, at: &str, call: &mut impl FnMut(&str, &Value)) {
    for (name, key) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        call(&at, key);
        each_key(key, &at, call);
        each_key(&key["items"], &at, call);
    }
}

#[test]
fn each_key_says_what_it_does_its_values_and_its_default() {
    for (page, schema) in [(CONFIG, of_config()), (POLICY_FILE, of_policy_file())] {
        jsonschema::draft7::meta::validate(&schema).unwrap_or_else(|e| panic!("{page}: {e}"));
        let mut keys = Vec::new();
        each_key(&schema, "", &mut |at, key| {
            let text = key["description"].as_str().unwrap_or_default();
            let has = |word: &str| text.contains(&format!("\n\n{word}: "));
            // A pattern has no default and its values are described once, in `match`.
            let pattern = at.starts_with("/vm/match");
            assert!(text.len() > 20 && (has("Values") || pattern), "{page}: {at}: {text}");
            let top = at.matches('/').count() == 1;
            assert!(!top || has("Default"), "{page}: {at} does not say its default");
            let combined = ["allOf", "anyOf", "oneOf"].iter().find(|word| !key[**word].is_null());
            assert_eq!(combined, None, "{page}: {at}: see wire/policy/schema.rs");
            assert!(!key.to_string().contains("null"), "{page}: {at}: TOML has no null");
            keys.push(at.to_owned());
        });
        assert!(keys.len() >= 20, "{page}: only {} keys were found", keys.len());
        assert!(keys.contains(&"/vm/limit/share".to_owned()), "{page}: {keys:?}");
    }
}

/// Calls a function with each description, of keys and of what has none to show.
fn each_description(schema: &Value, call: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(keywords) => {
            if let Some(text) = keywords.get("description").and_then(Value::as_str) {
                call(text);
            }
            keywords.values().for_each(|value| each_description(value, call));
        }
        Value::Array(all) => all.iter().for_each(|value| each_description(value, call)),
        _ => {}
    }
}

#[test]
fn descriptions_are_texts_for_users() {
    for (page, schema) in [(CONFIG, of_config()), (POLICY_FILE, of_policy_file())] {
        let (mut keys, mut descriptions) = (0, 0);
        each_key(&schema, "", &mut |_, _| keys += 1);
        each_description(&schema, &mut |text| {
            assert!(!text.contains("]("), "{page}: a link leads nowhere in an editor: {text}");
            assert!(!text.contains("[`"), "{page}: a comment for who reads the sources: {text}");
            descriptions += 1;
        });
        assert_eq!(descriptions, keys + 1, "{page}: one of each key and one of the schema");
    }
}

/// The sources have no line that names the schema in each configuration, as the package's has.
#[test]
fn taplo_finds_the_schema_in_the_sources() {
    let text = fs::read_to_string(root().join("taplo.toml")).unwrap();
    let settings: toml::Table = toml::from_str(&text).unwrap();
    let rules = settings["rule"].as_array().unwrap();
    assert_eq!(rules[0]["schema"]["path"].as_str(), Some(CONFIG));
    let globs = |list: &toml::Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|glob| glob.as_str().unwrap().to_owned()).collect()
    };
    for glob in globs(&settings["exclude"]).into_iter().chain(globs(&rules[0]["include"])) {
        let folder = glob.split("/*").next().unwrap();
        assert!(root().join(folder).exists(), "taplo.toml: there is no {folder}");
    }
}
