//! # Whether files that are valid by an older schema stay valid

use serde_json::{Map, Value};

use crate::docs::outdated;

type Keywords = Map<String, Value>;

/// What an older schema accepts and a newer one refuses. Patterns are not compared: what they
/// accept is only shown by corpus/valid.
pub fn lost(old: &Value, new: &Value, at: &str) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys = at.ends_with("/properties");
            let of = |(name, old): (&String, &Value)| match new.get(name) {
                // Not what is accepted, but where something else applies.
                Some(_) if !keys && ["if", "not"].contains(&name.as_str()) => vec![],
                Some(new) => lost(old, new, &format!("{at}/{name}")),
                None if keys => vec![format!("{at} has no {name}")],
                None => vec![],
            };
            let mut lost: Vec<_> = old.iter().flat_map(of).collect();
            if !keys {
                lost.extend(narrower(old, new, at));
            }
            lost
        }
        (Value::Array(old), Value::Array(new)) if at.ends_with("/enum") => {
            let lost = old.iter().filter(|value| !new.contains(value));
            lost.map(|value| format!("{at} has no {value}")).collect()
        }
        _ => vec![],
    }
}

/// Keywords that accept less than before.
fn narrower(old: &Keywords, new: &Keywords, at: &str) -> Vec<String> {
    let words = [
        "maximum",
        "maxItems",
        "maxLength",
        "minimum",
        "minItems",
        "minLength",
        "minProperties",
        "type",
        "enum",
        "required",
        "additionalProperties",
    ];
    let narrower = words.into_iter().filter(|word| {
        let (old, new) = (old.get(*word), new.get(*word));
        let number = |of: Option<&Value>, none: f64| of.and_then(Value::as_f64).unwrap_or(none);
        match *word {
            "type" => new.is_some() && (old.is_none() || !all_in(old, new)),
            "required" => !all_in(new, old),
            // Names that are gone are reported on their own.
            "enum" => old.is_none() && new.is_some(),
            "additionalProperties" => new == Some(&Value::Bool(false)) && old != new,
            _ if word.starts_with("max") => number(new, f64::MAX) < number(old, f64::MAX),
            _ => number(new, f64::MIN) > number(old, f64::MIN),
        }
    });
    let text = |of: Option<&Value>| of.map_or_else(|| "none".to_owned(), Value::to_string);
    narrower
        .map(|word| format!("{at} has {word} {}, not {}", text(new.get(word)), text(old.get(word))))
        .collect()
}

/// Whether a keyword's values are all in another's.
fn all_in(some: Option<&Value>, others: Option<&Value>) -> bool {
    let others = list(others);
    list(some).into_iter().all(|value| others.contains(&value))
}

/// One value stands for a list of it.
fn list(of: Option<&Value>) -> Vec<&Value> {
    match of {
        Some(Value::Array(all)) => all.iter().collect(),
        one => one.into_iter().collect(),
    }
}

/// The line for who has added a key or a name.
pub fn grown(page: &str, old: &Value, new: &Value) -> Option<String> {
    let added = lost(new, old, "");
    (!added.is_empty()).then(|| outdated(page, &added.join(", ")))
}

mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::schema::{of_config, tests::CONFIG};

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

    #[test]
    fn what_accepts_less_than_before_is_found() {
        let rule = "/properties/vm/items";
        let cases = [
            ("/properties/max_vms", "maximum", json!(9), "maximum 9, not 65536"),
            ("/properties/max_vms", "minimum", json!(2), "minimum 2, not 1"),
            ("/properties/allow", "maxItems", json!(3), "maxItems 3, not none"),
            ("/properties/socket", "minLength", json!(1), "minLength 1, not none"),
            ("/properties/socket", "enum", json!(["/run/a"]), "enum [\"/run/a\"], not none"),
            (
                "/properties/limit",
                "type",
                json!("object"),
                "type \"object\", not [\"string\",\"object\"]",
            ),
            (
                rule,
                "required",
                json!(["match", "mode"]),
                "required [\"match\",\"mode\"], not [\"match\"]",
            ),
        ];
        for (at, word, value, text) in cases {
            let (old, mut new) = (of_config(), of_config());
            new.pointer_mut(at).unwrap()[word] = value;
            assert_eq!(lost(&old, &new, ""), [format!("{at} has {text}")]);
            assert_eq!(lost(&new, &old, ""), [""; 0], "{at} accepts more: {word}");
        }
        let (mut old, new) = (of_config(), of_config());
        old["properties"]["limit"]["additionalProperties"] = json!(true);
        assert_eq!(lost(&old, &new, "").len(), 1);
    }
}
