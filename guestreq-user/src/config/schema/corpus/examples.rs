//! # Examples of the project: shipped files, documentation, other tests' cases

use std::{collections::BTreeMap, io::Write as _};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::*;

/// Every text with a name: that of a file begins at the project's folder.
fn examples() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["deploy", "docs", "fuzz/seeds/config", "fuzz/found/config"] {
        collect(&root().join(folder), &mut found);
    }
    let cases = root().join("guestreq-user/src/policy/cases");
    for (file, key) in [("rules", "rule"), ("rates", "rate"), ("files", "text")] {
        let text = fs::read_to_string(cases.join(file).with_extension("jsonl")).unwrap();
        for line in text.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let of = case[key].as_str().unwrap();
            let text = match key {
                "rule" => format!("[[vm]]\nmatch = {{ {of} }}\n"),
                "rate" => format!("limit = {{ rate = \"{of}\" }}\n"),
                _ => of.to_owned(),
            };
            found.insert(format!("{file}: {}", case["id"]), text);
        }
    }
    found
}

/// Configuration files of a folder, and examples in its pages.
fn collect(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if name.ends_with(".md") {
            for (at, block) in text.split("```toml\n").skip(1).enumerate() {
                let block = block.split("```").next().unwrap();
                // Alternatives for one key.
                let is_one = toml::from_str::<toml::Table>(block).is_ok();
                let parts = if is_one { vec![block] } else { block.lines().collect() };
                for (line, part) in parts.into_iter().enumerate() {
                    found.insert(format!("{name}, example {at}.{line}"), part.to_owned());
                }
            }
        } else if name.ends_with(".toml") || name.starts_with("fuzz/") {
            found.insert(name, text);
        }
    }
}

#[test]
fn both_say_the_same_about_each_example() {
    let schema = validator(&of_config());
    let examples = examples();
    let counts = |of: &str| examples.keys().filter(|name| name.starts_with(of)).count();
    let folders = [("deploy/", 3), ("docs/", 8), ("fuzz/", 3)];
    for (of, least) in folders.into_iter().chain([("rules: ", 10), ("rates: ", 9), ("files: ", 2)])
    {
        assert!(counts(of) >= least, "{} of {of}", counts(of));
    }
    for (name, text) in examples {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let verdicts = Verdicts::of(file.path(), &schema);
        let (check, by_schema) = verdicts.refused();
        let Verdicts { errors, faults } = verdicts;
        // Inputs for fuzzing are there to be wrong in any way: the schema must only not be stricter.
        let agree =
            if name.starts_with("fuzz/") { check || !by_schema } else { check == by_schema };
        assert!(agree, "{name}: {errors:?}, {faults:?}\n{text}");
        if name.starts_with("deploy/") || name.starts_with("docs/") {
            assert!(!check, "{name}: {errors:?}");
            let newer = newer_tables(&text);
            assert_eq!(newer, [""; 0], "{name}: editors that read TOML 1.0 mark it");
        }
    }
}

/// Tables in braces that TOML 1.0 does not have: with a line break or a trailing comma.
fn newer_tables(text: &str) -> Vec<&str> {
    fn within<'a>(value: &Spanned<DeValue<'_>>, text: &'a str, found: &mut Vec<&'a str>) {
        match value.get_ref() {
            DeValue::Array(all) => all.iter().for_each(|value| within(value, text, found)),
            DeValue::Table(table) => {
                let table_text = &text[value.span()];
                let inner = table_text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
                found.extend(inner.filter(|it| it.contains('\n') || it.trim_end().ends_with(',')));
                table.values().for_each(|value| within(value, text, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    let table = DeTable::parse(text).unwrap();
    table.get_ref().values().for_each(|value| within(value, text, &mut found));
    found
}

#[test]
fn tables_of_a_later_toml_are_found() {
    assert_eq!(
        newer_tables("[[vm]]\nmatch = { name = \"a\" }\n[limit]\nrate = \"1/s\"\n"),
        [""; 0]
    );
    assert_eq!(newer_tables("[[vm]]\nlimit = { rate = \"1/s\", }\n").len(), 1);
    assert_eq!(newer_tables("limit = {\n  rate = \"1/s\"\n}\n").len(), 1);
}
