//! # The same files as policy files
//!
//! Where a file has only keys that `policy apply` takes, it and the schema of policy files say what
//! `policy check` and the schema of config.toml say. Where it has others, both refuse them.

use super::*;
use crate::config::{keys::POLICY, policy_file, schema::of_policy_file};

/// A file's keys that cannot be applied; none if it is no TOML.
fn others(text: &str) -> Vec<String> {
    let file: toml::Table = toml::from_str(text).unwrap_or_default();
    file.keys().filter(|key| !POLICY.contains(&key.as_str())).cloned().collect()
}

/// Fails unless both say about a file what its folder says.
fn assert_agreement(path: &Path, text: &str, of_config: &Verdicts, schema: &Validator) {
    let name = path.display();
    let refused = policy_file(path).err().map(|error| format!("{error:#}"));
    let faults = faults(schema, text);
    let others = others(text);
    if others.is_empty() {
        assert_eq!(faults, of_config.faults, "{name}");
        match (&of_config.errors[..], &refused) {
            ([], None) => {}
            ([error], Some(refused)) => assert_eq!(*refused, format!("{name}: {error}")),
            (errors, refused) => panic!("{name}: {errors:?}, but policy apply: {refused:?}"),
        }
        return;
    }
    let refused = refused.unwrap_or_else(|| panic!("{name}: policy apply takes {others:?}"));
    if of_config.errors.is_empty() {
        let named =
            others.iter().any(|key| refused.contains(&format!(": {key} cannot be applied")));
        assert!(named, "{refused}");
    }
    let faults = faults.unwrap();
    for key in others {
        let of_key = |(at, fault): &(String, String)| {
            at.is_empty() && fault.contains(&format!("'{key}'")) && fault.contains("unexpected")
        };
        assert!(faults.iter().any(of_key), "{name}: {key}: {faults:?}");
    }
}

#[test]
fn policy_apply_and_its_schema_say_the_same() {
    let (config, schema) = (validator(&of_config()), validator(&of_policy_file()));
    for (folder, least) in [("valid", 15), ("invalid", 30), ("only_policy_check", 5)] {
        let files = files(folder);
        let policy = files.iter().filter(|(_, text)| others(text).is_empty()).count();
        assert!(policy >= least && policy < files.len(), "{folder}: {policy} policy files");
        for (path, text) in files {
            assert_agreement(&path, &text, &Verdicts::of(&path, &config), &schema);
        }
    }
}
