//! # Files on which schema and `policy check` agree
//!
//! Each file of corpus/invalid begins with the error of `policy check` and the schema's, with its
//! place. Those of corpus/only_policy_check say why the schema accepts them. All others are valid.

mod examples;
mod policy_files;

use std::{
    fs,
    path::{Path, PathBuf},
};

use jsonschema::Validator;
use serde_json::Value;

use super::{of_config, tests::each_key};
use crate::{config::Config, docs::root};

/// What both say about a file.
struct Verdicts {
    /// Of `policy check`: `line 1, column 8: …`
    errors: Vec<String>,
    /// A place such as `/vm/0/mode`, and what is wrong there; or why it is no TOML.
    faults: Result<Vec<(String, String)>, String>,
}

impl Verdicts {
    fn of(path: &Path, schema: &Validator) -> Verdicts {
        let errors = Config::check(&[path.to_owned()]).errors;
        let name = format!("{}: ", path.display());
        let errors = errors.iter().map(|error| error.to_string().replacen(&name, "", 1)).collect();
        let text = fs::read_to_string(path).unwrap();
        Verdicts { errors, faults: faults(schema, &text) }
    }

    fn refused(&self) -> (bool, bool) {
        let by_schema = self.faults.as_ref().map_or(true, |faults| !faults.is_empty());
        (!self.errors.is_empty(), by_schema)
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::new(schema).unwrap()
}

fn faults(schema: &Validator, text: &str) -> Result<Vec<(String, String)>, String> {
    let file: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let file = json(file.into());
    let faults = schema.iter_errors(&file);
    Ok(faults.map(|fault| (fault.instance_path().to_string(), fault.to_string())).collect())
}

/// As editors do it: dates are text.
fn json(file: toml::Value) -> Value {
    match file {
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(all) => all.into_iter().map(json).collect(),
        toml::Value::Table(all) => all.into_iter().map(|(key, value)| (key, json(value))).collect(),
        other => serde_json::to_value(other).unwrap(),
    }
}

/// The files of a folder with their texts.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = root().join("guestreq-user/src/config/schema/corpus").join(folder);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// What a file's comment says after a word.
fn comment<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(word)?.strip_prefix(": "))
}

/// Fails unless `policy check` reports one error, that of the file's comment.
fn assert_refused(path: &Path, text: &str, Verdicts { errors, .. }: &Verdicts) {
    let path = path.display();
    let expected = comment(text, "policy check").unwrap_or_else(|| panic!("{path}: no error"));
    let (place, what) = expected.split_once(": ").unwrap();
    let [error] = &errors[..] else { panic!("{path}: not one error: {errors:?}") };
    assert!(error.starts_with(&format!("{place}: ")) && error.contains(what), "{path}: {error}");
    assert!(!error.contains('\n'), "{path}: {error}");
}

#[test]
fn both_accept_valid_files() {
    let schema = validator(&of_config());
    for (path, _) in files("valid") {
        let Verdicts { errors, faults } = Verdicts::of(&path, &schema);
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        assert_eq!(faults, Ok(vec![]), "{}", path.display());
    }
}

#[test]
fn both_refuse_invalid_files_for_the_same_reason() {
    let schema = validator(&of_config());
    for (path, text) in files("invalid") {
        let verdicts = Verdicts::of(&path, &schema);
        assert_refused(&path, &text, &verdicts);
        let path = path.display();
        let expected = comment(&text, "schema").unwrap_or_else(|| panic!("{path}: no fault"));
        match (&verdicts.faults, expected.split_once(": ")) {
            (Err(_), None) => assert_eq!(expected, "not TOML", "{path}"),
            (Ok(faults), Some((at, what))) => {
                let found = faults.iter().any(|(place, fault)| place == at && fault.contains(what));
                assert!(found, "{path}: {faults:?}");
            }
            (faults, _) => panic!("{path}: {faults:?}"),
        }
    }
}

#[test]
fn what_only_policy_check_refuses_says_why() {
    let schema = validator(&of_config());
    for (path, text) in files("only_policy_check") {
        let verdicts = Verdicts::of(&path, &schema);
        assert_refused(&path, &text, &verdicts);
        let path = path.display();
        assert_eq!(verdicts.faults, Ok(vec![]), "{path}: move it to corpus/invalid");
        assert!(comment(&text, "not in the schema").is_some(), "{path} does not say why");
    }
}

/// A key or a name that is added to the sources needs files, too.
#[test]
fn each_key_and_each_name_has_files() {
    let valid: Vec<Value> = files("valid")
        .into_iter()
        .map(|(_, text)| json(toml::from_str::<toml::Table>(&text).unwrap().into()))
        .collect();
    let invalid: Vec<_> = files("invalid")
        .into_iter()
        .filter_map(|(_, text)| {
            let (at, _) = comment(&text, "schema")?.split_once(": ")?;
            Some(
                at.split('/')
                    .filter(|part| part.parse::<usize>().is_err())
                    .collect::<Vec<_>>()
                    .join("/"),
            )
        })
        .collect();
    each_key(&of_config(), "", &mut |at, key| {
        // The same as /limit.
        if at.starts_with("/vm/limit/") {
            return;
        }
        let set: Vec<_> = valid.iter().flat_map(|file| at_key(file, at)).collect();
        assert!(!set.is_empty(), "no file in corpus/valid sets {at}");
        assert!(invalid.iter().any(|of| of == at), "no file in corpus/invalid has a fault at {at}");
        let names = key["enum"].as_array().or(key["items"]["enum"].as_array());
        // Those of rules are the same.
        let names = names.filter(|_| !at.starts_with("/vm/"));
        for name in names.into_iter().flatten() {
            let is = |value: &&Value| {
                *value == name || value.as_array().is_some_and(|all| all.contains(name))
            };
            assert!(set.iter().any(is), "no file in corpus/valid has {at} = {name}");
        }
    });
}

/// A file's values of a key, those of all rules.
fn at_key<'a>(file: &'a Value, at: &str) -> Vec<&'a Value> {
    let mut found = vec![file];
    for key in at.split('/').skip(1) {
        let next = found.into_iter().filter_map(|value| value.get(key));
        found = next
            .flat_map(|value| match value.as_array() {
                Some(all) if key == "vm" => all.iter().collect(),
                _ => vec![value],
            })
            .collect();
    }
    found
}
