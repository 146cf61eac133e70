//! # A key: what it does, its values and its default

use serde_json::Value;

/// Texts in Markdown, with links relative to docs/.
pub struct Key {
    pub what: String,
    pub values: Option<String>,
    pub default: Option<String>,
}

impl Key {
    /// From a schema whose description is the field's comment.
    pub fn of(name: &str, schema: &Value) -> Key {
        let comment = schema["description"].as_str().unwrap_or_else(|| {
            panic!("{name} has no description: write a comment on its field, see config/schema.rs")
        });
        let paragraphs = comment.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        let (mut what, mut values, mut default) = (String::new(), values(schema), None);
        for paragraph in paragraphs {
            if let Some(text) = paragraph.strip_prefix("Values: ") {
                values = Some(text.to_owned());
            } else if let Some(text) = paragraph.strip_prefix("Default: ") {
                default = Some(text.to_owned());
            } else {
                assert!(
                    what.is_empty(),
                    "{name}: a comment has one paragraph, Values: and Default:"
                );
                what = paragraph;
            }
        }
        let literal = schema.get("default").map(|value| format!("`{}`", toml(value)));
        Key { what, values, default: default.or(literal) }
    }

    /// In the schema, where links are no links.
    pub fn description(&self) -> String {
        let mut text = format!("{}.", self.what);
        for (word, of) in [("Values", &self.values), ("Default", &self.default)] {
            if let Some(of) = of {
                text.push_str(&format!("\n\n{word}: {of}."));
            }
        }
        with_links(&text, |text, target| format!("{text} ({target})"))
    }
}

/// What keywords say about values.
fn values(schema: &Value) -> Option<String> {
    if let Some(names) = schema["enum"].as_array().or(schema["items"]["enum"].as_array()) {
        let names: Vec<_> = names.iter().map(|name| format!("`{}`", toml(name))).collect();
        return Some(names.join(", "));
    }
    let (from, to) = (schema["minimum"].as_u64()?, schema["maximum"].as_u64()?);
    Some(format!("an integer from {from} to {to}"))
}

/// A value as it is written in files.
fn toml(value: &Value) -> String {
    toml::Value::try_from(value).unwrap().to_string()
}

/// Replaces each `[text](target)`.
pub fn with_links(text: &str, link: impl Fn(&str, &str) -> String) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some((left, right)) = rest.split_once("](") {
        let (before, name) = left.rsplit_once('[').unwrap_or((left, ""));
        let (target, after) = right.split_once(')').unwrap_or((right, ""));
        done = done + before + &link(name, target);
        rest = after;
    }
    done + rest
}

/// Begins with a small letter, unless it begins with a name such as KubeVirt.
pub fn in_a_sentence(text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    let is_name = word.chars().skip(1).any(char::is_uppercase);
    let first = if is_name { word.to_owned() } else { word.to_lowercase() };
    first + &text[word.len()..]
}
