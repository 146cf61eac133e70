//! # docs/glossary.md
//!
//! One concept has one word. Words that were retired do not come back: not in code, messages,
//! metrics, dashboards or documentation.

use std::{fs, path::Path, path::PathBuf};

use super::root;

/// What was used, and what is used instead.
const RETIRED: &[(&str, &str)] = &[
    ("anew", "again, or \"from zero\""),
    ("bury", "reap"),
    ("door", "listener, or connection limit"),
    ("gist", "without its numbers"),
    ("goes on", "continues, or survives"),
    ("lapse", "recent increase"),
    ("honest", "what it is exactly"),
    ("manner", "behavior"),
    ("patience", "timeout, named after what times out"),
    ("roll_call", "round"),
    ("sheet", "policy file"),
    ("told", "reported, or answered"),
    ("undisturbed", "real-time guard"),
    ("whom", "the VM, or the process"),
    ("all the same", "anyway, or \"to proceed\""),
];

/// Not ours, or made by a tool.
const OTHERS: [&str; 6] = ["target", ".git", "LICENSES", "node_modules", "patch", "pinned"];

#[test]
fn retired_words_do_not_come_back() {
    let mut files = Vec::new();
    find(&root(), &mut files);
    assert!(files.len() > 500, "only {} files were read", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let name = file.strip_prefix(root()).unwrap_or(&file).display();
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in RETIRED.iter().filter(|(word, _)| has(line, word)) {
                found.push(format!("{name}:{}: {word:?}: {instead}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{} retired words:\n{}", found.len(), found.join("\n"));
}

/// The rows are listed in docs/reliability.md.
#[test]
fn each_row_of_the_second_review_is_named_by_a_test() {
    let mut files = Vec::new();
    find(&root(), &mut files);
    let sources = files.iter().filter(|file| file.extension().is_some_and(|it| it == "rs"));
    let text: String = sources.map(|file| fs::read_to_string(file).unwrap()).collect();
    for row in 1..=18 {
        assert!(text.contains(&format!("Row {row} of the second review")), "row {row}");
    }
}

#[test]
fn a_word_is_found_within_names_and_not_within_words() {
    assert!(has("is Told so", "told") && has("was_told(", "told") && has("it goes on.", "goes on"));
    assert!(!has("outdoors, stolen, untold", "door") && !has("untold", "told"));
}

/// Whether a line has a word, as one of its own or as a part of a name.
fn has(line: &str, word: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
    line.match_indices(word).any(|(at, _)| {
        !is_letter(line[..at].chars().next_back())
            && !is_letter(line[at + word.len()..].chars().next())
    })
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if OTHERS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            find(&path, files);
        } else if is_ours(&name) {
            files.push(path);
        }
    }
}

/// Text that people of this project write. Cases (`.jsonl`) quote others, and this file the words.
fn is_ours(name: &str) -> bool {
    let kinds =
        [".rs", ".md", ".toml", ".yml", ".yaml", ".c", ".h", ".json", ".jsx", ".mjs", ".service"];
    kinds.iter().any(|kind| name.ends_with(kind))
        && !["vocabulary.rs", "package-lock.json"].contains(&name)
}
