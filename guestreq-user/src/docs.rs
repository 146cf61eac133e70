//! # Documentation generated from the code
//!
//! Tests fail if a page is out of date; `UPDATE_DOCS=1 cargo test -p guestreq` updates it.

mod layers;
mod unsafe_code;
mod vocabulary;

use std::{env, fs, path::Path, path::PathBuf};

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Fails unless a page has this text.
pub fn assert_current(page: &str, text: &str) {
    let path = root().join(page);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    if let Some(difference) = difference(&current, text) {
        panic!("{}", outdated(page, &difference));
    }
}

/// How to regenerate a page.
pub fn outdated(page: &str, why: &str) -> String {
    format!("{page} is not current: {why}: UPDATE_DOCS=1 cargo test -p guestreq")
}

/// Where a text begins to differ from what it should be.
fn difference(current: &str, text: &str) -> Option<String> {
    if current == text {
        return None;
    }
    let same = current.chars().zip(text.chars()).take_while(|(is, should)| is == should).count();
    let line = text.chars().take(same).filter(|c| *c == '\n').count() + 1;
    let rest: String = text.chars().skip(same).take_while(|c| *c != '\n').take(60).collect();
    Some(format!("line {line} should continue with `{rest}`"))
}

#[test]
fn a_difference_is_shown_by_its_line_and_what_should_be_there() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    let shown = |current, text| difference(current, text).unwrap();
    assert_eq!(shown("a\nbc\n", "a\nbde\n"), "line 2 should continue with `de`");
    assert_eq!(shown("a\nb\n", "a\n"), "line 2 should continue with ``");
    assert_eq!(shown("", "a\n"), "line 1 should continue with `a`");
    assert!(shown("", &"a".repeat(1000)).len() < 100);
}

/// Fails unless a link's page and heading exist.
pub fn assert_leads_somewhere(link: &str) {
    let (page, anchor) = link.split_once('#').expect("a heading");
    let text = fs::read_to_string(root().join(page)).unwrap_or_else(|_| panic!("no {page}"));
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| slug(line.trim_start_matches('#').trim()));
    assert!(anchors.any(|found| found == anchor), "{page} has no heading #{anchor}");
}

/// GitHub's anchor of a heading.
pub fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A link from a page in docs/ to another page of the project.
pub fn from_docs(link: &str) -> String {
    match link.strip_prefix("docs/") {
        Some(page) => page.to_owned(),
        None => format!("../{link}"),
    }
}
