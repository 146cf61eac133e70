//! # Ids, descriptions, and the documents that name them

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::GROUPS;

fn descriptions() -> BTreeMap<&'static str, &'static str> {
    let all = GROUPS.iter().flat_map(|group| group.all());
    all.map(|scenario| (scenario.id, scenario.description)).collect()
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
}

#[test]
fn an_id_is_a_subject_and_a_name_and_belongs_to_one_description() {
    let descriptions = descriptions();
    for scenario in GROUPS.iter().flat_map(|group| group.all()) {
        let id = scenario.id;
        let (subject, name) = id.split_once('/').unwrap_or_default();
        assert!(is_word(subject) && is_word(name) && id.len() <= 36, "{id}");
        assert_eq!(descriptions[id], scenario.description, "{id} is used twice");
    }
    let distinct: BTreeSet<_> = descriptions.values().collect();
    assert_eq!(distinct.len(), descriptions.len(), "two ids have the same description");
    for group in GROUPS {
        let ids: BTreeSet<_> = group.all().map(|scenario| scenario.id).collect();
        assert_eq!(ids.len(), group.all().count(), "{} has a scenario twice", group.name);
    }
}

#[test]
fn a_description_is_one_sentence_that_follows_a_colon() {
    for (id, description) in descriptions() {
        let is_one =
            !description.contains(['.', ';', '\n']) || description.contains("exits with 0");
        let fits = description.len() <= 110 && description.split(' ').count() >= 4;
        assert!(is_one && fits && description.trim() == description, "{id}: {description}");
    }
}

/// Words that look like ids, and arguments of `--only` in commands.
fn named(text: &str) -> (Vec<&str>, Vec<&str>) {
    let subjects: BTreeSet<_> =
        descriptions().keys().filter_map(|id| id.split('/').next()).collect();
    let words = |text| {
        let is_between = |c: char| c.is_whitespace() || matches!(c, '`' | '(' | ')' | ',' | ';');
        str::split(text, is_between).filter(|word| !word.is_empty())
    };
    let is_id = |word: &&str| {
        let (subject, name) = word.split_once('/').unwrap_or_default();
        subjects.contains(subject) && is_word(name)
    };
    let commands = text.split('\n').filter(|line| line.contains("xtask test "));
    let only = commands.filter_map(|line| words(line).skip_while(|it| *it != "--only").nth(1));
    (
        words(text).filter(is_id).collect(),
        only.filter(|it| is_word(it.split('/').next().unwrap_or_default())).collect(),
    )
}

fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths: Vec<_> =
        ["rig/README.md", "CONTRIBUTING.md", "README.md"].map(|name| root.join(name)).into();
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of docs").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                // Names modules, which look like ids.
                path if path.ends_with("architecture.md") => {}
                path if path.extension().is_some_and(|it| it == "md") => paths.push(path),
                _ => {}
            }
        }
    }
    let read = |path: std::path::PathBuf| {
        (path.display().to_string(), fs::read_to_string(path).expect("a document"))
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn documents_name_scenarios_that_exist() {
    let mut descriptions = descriptions();
    // xtask's own.
    descriptions.extend([("dashboards/without_vms", ""), ("dashboards/under_load", "")]);
    for (path, text) in documents() {
        let (ids, only) = named(&text);
        for id in ids {
            assert!(descriptions.contains_key(id), "{path}: there is no scenario {id}");
        }
        for only in only {
            let is_subject = descriptions.keys().any(|id| id.split('/').next() == Some(only));
            let is_group = GROUPS.iter().any(|group| group.name == only);
            let exists = descriptions.contains_key(only) || is_subject || is_group;
            assert!(exists, "{path}: --only {only} selects nothing");
        }
    }
}

/// Each row of the threat model names scenarios, or says why none shows it.
#[test]
fn the_threat_model_names_a_scenario_in_each_row() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/threat-model.md");
    let text = fs::read_to_string(path).expect("the threat model");
    let (descriptions, mut named) = (descriptions(), 0);
    for line in text.lines() {
        assert!(!line.ends_with("| – |"), "nothing shows it, and no reason is given: {line}");
        let is_id =
            |word: &&str| word.split_once('/').is_some_and(|(a, b)| is_word(a) && is_word(b));
        for id in line.split('`').skip(1).step_by(2).filter(is_id) {
            assert!(descriptions.contains_key(id), "there is no scenario {id}");
            named += 1;
        }
    }
    assert!(named > 50, "only {named} are named");
}
