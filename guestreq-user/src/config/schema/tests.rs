use std::{env, fs};

use serde_json::{Value, json};

use super::{of_config, of_policy_file};
use crate::docs::{assert_current, outdated, root};

const CONFIG: &str = "docs/schema/config.schema.json";
const POLICY_FILE: &str = "docs/schema/policy.schema.json";

/// What an older schema has and a newer one lacks: files that use it would no longer be valid.
fn lost(old: &Value, new: &Value, at: &str) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), new) if at.ends_with("/properties") || new.is_object() => {
            let of = |(name, old): (&String, &Value)| match new.get(name) {
                Some(new) => lost(old, new, &format!("{at}/{name}")),
                None if at.ends_with("/properties") => vec![format!("{at} has no {name}")],
                None => vec![],
            };
            old.iter().flat_map(of).collect()
        }
        (Value::Array(old), Value::Array(new)) if at.ends_with("/enum") => {
            let lost = old.iter().filter(|value| !new.contains(value));
            lost.map(|value| format!("{at} has no {value}")).collect()
        }
        _ => vec![],
    }
}

/// The line for who has added a key or a name.
fn grown(page: &str, old: &Value, new: &Value) -> Option<String> {
    let added = lost(new, old, "");
    (!added.is_empty()).then(|| outdated(page, &added.join(", ")))
}

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

#[test]
fn a_schema_that_grows_must_be_regenerated_and_one_that_shrinks_is_refused() {
    let (old, mut new) = (of_config(), of_config());
    let types = new["properties"]["allow"]["items"]["enum"].as_array_mut().unwrap();
    types.push(json!("later_type"));
    new["properties"]["later_key"] = json!({ "type": "string" });
    assert_eq!(grown(CONFIG, &old, &old), None);
    assert_eq!(
        grown(CONFIG, &old, &new).unwrap(),
        "docs/schema/config.schema.json is not current: /properties/allow/items/enum has no \
         \"later_type\", /properties has no later_key: UPDATE_DOCS=1 cargo test -p guestreq"
    );
    assert_eq!(lost(&old, &new, ""), [""; 0], "older files stay valid");
    assert_eq!(lost(&new, &old, "").len(), 2);
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
            assert!(!text.contains("]("), "{page}: {at}: a link leads nowhere in an editor");
            let combined = ["allOf", "anyOf", "oneOf"].iter().find(|word| !key[**word].is_null());
            assert_eq!(combined, None, "{page}: {at}: see wire/policy/schema.rs");
            assert!(!key.to_string().contains("null"), "{page}: {at}: TOML has no null");
            keys.push(at.to_owned());
        });
        assert!(keys.len() >= 20, "{page}: only {} keys were found", keys.len());
        assert!(keys.contains(&"/vm/limit/share".to_owned()), "{page}: {keys:?}");
    }
}
