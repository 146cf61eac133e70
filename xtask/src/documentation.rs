//! # The documentation that packages and the image have
//!
//! README.md and CHANGELOG.md, and below them what is in docs/. Links between these pages are adapted
//! to that; a link to anything else names its path in the sources instead.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::project;

pub struct Page {
    /// Below the folder of the documentation.
    pub path: String,
    pub text: String,
}

/// Pages outside of docs/.
const OUTSIDE: [&str; 2] = ["README.md", "CHANGELOG.md"];
/// In a package of its own.
const GATE: (&str, &str) = ("gate/README.md", "../guestreq-gate-dkms/README.md");

/// All pages, with working links.
pub fn pages() -> Result<Vec<Page>> {
    let root = project::root();
    let mut sources: Vec<String> = OUTSIDE.map(str::to_owned).into();
    collect(root, "docs", &mut sources)?;
    sources.sort();
    let paths = sources.iter().map(|source| (source.as_str(), place(source)));
    let mut places: BTreeMap<&str, String> = paths.collect();
    places.insert(GATE.0, GATE.1.to_owned());
    let page = |source: &String| {
        let text = fs::read_to_string(root.join(source)).with_context(|| source.clone())?;
        Ok(Page { path: place(source), text: adapt(&text, source, &places) })
    };
    sources.iter().map(page).collect()
}

/// Writes all pages into a folder, and leaves nothing else there.
pub fn write(folder: &Path) -> Result<()> {
    let failed = || format!("cannot write {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(failed)?;
    }
    for page in pages()? {
        let path = folder.join(page.path);
        fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(failed)?;
        fs::write(path, page.text).with_context(failed)?;
    }
    Ok(())
}

/// Adds the pages of a folder of the sources.
fn collect(root: &Path, folder: &str, pages: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| folder.to_owned())? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(root, &path, pages)?;
        } else if path.ends_with(".md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// Where a page of the sources is in the documentation.
fn place(source: &str) -> String {
    source.strip_prefix("docs/").unwrap_or(source).to_owned()
}

/// A page whose links lead to pages of the documentation, or are words.
fn adapt(text: &str, source: &str, places: &BTreeMap<&str, String>) -> String {
    let (mut adapted, mut rest) = (String::with_capacity(text.len()), text);
    // A link is [WORDS](TARGET), a picture ![WORDS](TARGET).
    while let Some((before, after)) = rest.split_once("](") {
        let link = before.rsplit_once('[').zip(after.split_once(')'));
        let Some(((start, words), (target, following))) = link else {
            adapted += before;
            adapted += "](";
            rest = after;
            continue;
        };
        let picture = start.strip_suffix('!');
        adapted += picture.unwrap_or(start);
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let anchor = if anchor.is_empty() { String::new() } else { format!("#{anchor}") };
        if target.starts_with('#') || target.contains("://") || target.starts_with("mailto:") {
            adapted += &format!("[{words}]({target})");
        } else {
            let wanted = resolve(source, path);
            adapted += &match places.get(wanted.as_str()) {
                Some(place) => {
                    format!("[{words}]({}{anchor})", relative(&self::place(source), place))
                }
                None if picture.is_some() => words.to_owned(),
                None => format!("{words} ({wanted} in the sources)"),
            };
        }
        rest = following;
    }
    adapted + rest
}

/// The path in the sources to which a page's relative link leads.
fn resolve(source: &str, target: &str) -> String {
    let mut parts: Vec<&str> = source.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// A link from one page of the documentation to another.
fn relative(from: &str, to: &str) -> String {
    "../".repeat(from.matches('/').count()) + to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages_of_the_documentation_or_become_words() {
        let places = BTreeMap::from([
            ("README.md", "README.md".to_owned()),
            ("docs/policy.md", "policy.md".to_owned()),
            (GATE.0, GATE.1.to_owned()),
        ]);
        let adapt = |text: &str| super::adapt(text, "docs/runbooks/Denied.md", &places);
        for (link, adapted) in [
            ("see [limits](../policy.md#limits).", "see [limits](../policy.md#limits)."),
            ("[README](../../README.md)", "[README](../README.md)"),
            ("[gate](../../gate/README.md)", "[gate](../../guestreq-gate-dkms/README.md)"),
            ("[code](../../xtask/src/a.rs)", "code (xtask/src/a.rs in the sources)"),
            ("![a VM](../pictures/a.png) b", "a VM b"),
            (
                "[here](#below), [there](https://a.example/b)",
                "[here](#below), [there](https://a.example/b)",
            ),
            ("a[0](1", "a[0](1"),
        ] {
            assert_eq!(adapt(link), adapted);
        }
        assert_eq!(super::adapt("[p](docs/policy.md)", "README.md", &places), "[p](policy.md)");
    }

    #[test]
    fn every_link_of_every_page_leads_to_a_page() {
        let pages = pages().unwrap();
        let paths: Vec<_> = pages.iter().map(|page| page.path.as_str()).collect();
        assert!(paths.contains(&"README.md") && paths.contains(&"reference/keys.md"), "{paths:?}");
        let mut links = 0;
        for page in &pages {
            for link in page.text.split("](").skip(1) {
                let target = link.split([')', '#']).next().unwrap_or_default();
                if target.is_empty() || target.contains("://") || target.ends_with(GATE.1) {
                    continue;
                }
                let leads_to = resolve(&page.path, target);
                assert!(paths.contains(&leads_to.as_str()), "{}: {target}", page.path);
                links += 1;
            }
        }
        assert!(links > 100, "only {links} links");
    }
}
