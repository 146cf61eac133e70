//! # JSON Schemas of config.toml and of policy files
//!
//! Generated from [`Keys`], for editors. A description is a field's comment: what the key does, and
//! in paragraphs of their own `Values:`, unless an enum or a range says it, and `Default:`, unless
//! [`Config::default`] does. The same three are in the tables of docs/policy.md and
//! docs/reference/keys.md. Links in comments are relative to docs/.

mod corpus;
mod key;
mod older;
mod pages;
mod tests;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{
    Config,
    keys::{Keys, POLICY},
};
use crate::policy::{Effective, Overrides};
use key::{Key, in_a_sentence};

/// An address of IPv4, or one of IPv6 in brackets, and a port.
pub const SOCKET_ADDRESS: &str =
    r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+(%[0-9]+)?\]):[0-9]+$";

pub const ABSOLUTE: &str = "^/";

/// An absolute path of a file.
pub const SOCKET: &str = "^/.*[^/]$";

/// An absolute path whose last part does not begin with a dot.
pub const NFD_FILE: &str = r"^/([^/]*/)*[^./][^/]*$";

/// Of config.toml and the files in conf.d.
pub fn of_config() -> Value {
    let mut schema = undescribed();
    describe(&mut schema["properties"], None);
    schema["title"] = json!("guestreq's configuration: config.toml and conf.d/*.toml");
    schema["description"] = json!(
        "What a file may contain. What takes arithmetic, several keys or other files is only checked by \
         `guestreq policy check`."
    );
    schema
}

/// Of `guestreq policy apply`.
pub fn of_policy_file() -> Value {
    let mut schema = undescribed();
    let keys = &mut schema["properties"];
    keys.as_object_mut().unwrap().retain(|key, _| POLICY.contains(&key.as_str()));
    describe(keys, Some("the configuration's"));
    schema["title"] = json!("A policy file of guestreq policy apply");
    schema["description"] = json!(
        "What a file may contain. What takes arithmetic, several keys or the configuration is only \
         checked by `guestreq policy apply`; `guestreq policy check` checks values, but also accepts \
         keys that cannot be applied."
    );
    schema
}

/// With fields' comments as descriptions, as they are.
fn undescribed() -> Value {
    // What editors and their validators know best.
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Keys>().to_value();
    tidy(&mut schema);
    for (key, default) in defaults() {
        let of = schema["properties"].get_mut(key);
        of.unwrap_or_else(|| panic!("{key} is no key of files"))["default"] = default;
    }
    schema["$comment"] = json!(
        "Generated from guestreq-user/src/config by its tests (UPDATE_DOCS=1 cargo test -p guestreq): \
         edit there."
    );
    schema
}

/// Removes null, which TOML does not have, and what only says how Rust stores a value.
fn tidy(schema: &mut Value) {
    let Value::Object(keywords) = schema else { return };
    if let Some([Value::Object(value), null]) = keywords.get("anyOf").and_then(as_slice)
        && *null == json!({ "type": "null" })
    {
        let value = value.clone();
        keywords.remove("anyOf");
        keywords.extend(value);
    }
    keywords.retain(|word, value| match word.as_str() {
        "format" | "title" => false,
        "default" => !value.is_null() && *value != json!([]),
        _ => true,
    });
    for list in ["type", "enum"] {
        let Some(Value::Array(all)) = keywords.get_mut(list) else { continue };
        all.retain(|of| !of.is_null() && of != "null");
        if let ("type", [one]) = (list, &all[..]) {
            keywords[list] = one.clone();
        }
    }
    for (word, value) in keywords {
        match value {
            Value::Object(names) if word == "properties" => names.values_mut().for_each(tidy),
            Value::Array(all) => all.iter_mut().for_each(tidy),
            _ => tidy(value),
        }
    }
}

fn as_slice(list: &Value) -> Option<&[Value]> {
    list.as_array().map(Vec::as_slice)
}

/// Defaults of keys that have one.
fn defaults() -> Vec<(&'static str, Value)> {
    let config = Config::default();
    let Effective { mode, allow, limit, weight } =
        config.policy_set(Overrides::default()).default();
    let Config {
        backend,
        vcpu_denied,
        policy: _,
        order: None,
        state,
        listen,
        socket,
        socket_group: None,
        max_vms,
        keep_exited_vms,
        slow_request,
        nfd_file: None,
        files: _,
    } = config
    else {
        panic!("order, socket_group or nfd_file has a default: add it below");
    };
    let time = |time| humantime::format_duration(time).to_string();
    vec![
        ("backend", json!(backend)),
        ("vcpu_denied", json!(vcpu_denied)),
        ("mode", json!(mode.value)),
        ("allow", json!(allow.value)),
        ("limit", json!(limit.value)),
        ("weight", json!(weight.value)),
        ("state", json!(state)),
        ("listen", json!(listen)),
        ("socket", json!(socket)),
        ("max_vms", json!(max_vms)),
        ("keep_exited_vms", json!(time(keep_exited_vms))),
        ("slow_request", json!(time(slow_request))),
    ]
}

/// Replaces comments by descriptions that say everything about a key. `default` stands for defaults
/// that are elsewhere.
fn describe(keys: &mut Value, default: Option<&str>) {
    let top = keys.clone();
    // It would be that of a type, which is no text for users.
    keys["vm"]["items"].as_object_mut().unwrap().remove("description");
    let rule = &mut keys["vm"]["items"]["properties"];
    for (name, schema) in rule.as_object_mut().unwrap() {
        if let Some(of_top) = top.get(name) {
            assert_eq!(values_of(schema), values_of(of_top), "{name} of a rule has other values");
            *schema = of_top.clone();
        }
    }
    describe_each(rule, Some("the top level's"));
    for schema in rule["match"]["properties"].as_object_mut().unwrap().values_mut() {
        let known_for = in_a_sentence(schema["description"].as_str().unwrap_or_default());
        let text = "A pattern: `*` matches any characters, `?` exactly one. Known for";
        schema["description"] = format!("{text} {known_for}").into();
    }
    describe_each(keys, default);
}

/// Without what it says about the key itself.
fn values_of(key: &Value) -> Value {
    let mut key = key.clone();
    for word in ["description", "default"] {
        key.as_object_mut().unwrap().remove(word);
    }
    key
}

/// Also the keys of tables.
fn describe_each(keys: &mut Value, default: Option<&str>) {
    for (name, schema) in keys.as_object_mut().unwrap() {
        let mut key = Key::of(name, schema);
        if let Some(default) = default.filter(|_| schema.get("default").is_some()) {
            key.default = Some(default.to_owned());
            schema.as_object_mut().unwrap().remove("default");
        }
        schema["description"] = key.description().into();
        if let Some(keys) = schema.get_mut("properties") {
            describe_each(keys, None);
        }
    }
}
