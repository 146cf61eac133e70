//! # Documentation that is made of the code
//!
//! A page is current, or its test fails; `UPDATE_DOCS=1 cargo test -p guestreq`
//! writes it anew.

mod layers;
mod unsafe_code;
mod vocabulary;

use std::{env, fs, path::Path, path::PathBuf};

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Fails unless a page reads like this.
pub fn assert_current(page: &str, text: &str) {
    let path = root().join(page);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default() == text;
    assert!(current, "{page} is not current: UPDATE_DOCS=1 cargo test -p guestreq");
}

/// Fails unless a page of the project has the heading that a link names.
pub fn assert_leads_somewhere(link: &str) {
    let (page, anchor) = link.split_once('#').expect("a heading");
    let text = fs::read_to_string(root().join(page)).unwrap_or_else(|_| panic!("no {page}"));
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| slug(line.trim_start_matches('#').trim()));
    assert!(anchors.any(|found| found == anchor), "{page} has no heading #{anchor}");
}

/// As GitHub makes an anchor of a heading.
pub fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A link in a page of docs/ to another of the project.
pub fn from_docs(link: &str) -> String {
    match link.strip_prefix("docs/") {
        Some(page) => page.to_owned(),
        None => format!("../{link}"),
    }
}
