//! # Tables of keys in docs/policy.md and docs/reference/keys.md

use std::fs;

use serde_json::Value;

use super::{
    key::{Key, with_links},
    undescribed,
};
use crate::docs::{self, root};

/// Above each table; the table ends at the next empty line.
const MARK: &str = "<!-- made of the sources: UPDATE_DOCS=1 cargo test -p guestreq -->\n\n";

/// Described in docs/policy.md.
const OF_POLICY: [&str; 7] =
    ["mode", "backend", "vcpu_denied", "allow", "limit", "weight", "state"];

/// A row of other keys.
const SEE_POLICY: &str = "| `mode`, `backend`, `vcpu_denied`, `allow`, `limit`, `weight`, `[[vm]]`, \
                          `state` | | see [policy.md](../policy.md) | which requests VMs may send, \
                          and what happens to other requests |\n";

#[test]
fn the_tables_of_keys_are_current() {
    let schema = undescribed();
    let keys = &schema["properties"];
    let patterns = &keys["vm"]["items"]["properties"]["match"]["properties"];
    let policy = [
        table(&OF_POLICY, keys, "policy.md"),
        known_for(patterns, "policy.md"),
        table(&["share", "rate", "burst", "force"], &keys["limit"]["properties"], "policy.md"),
    ];
    assert_current("policy.md", &policy);
    let others = keys.as_object().unwrap().keys().map(String::as_str);
    let others: Vec<_> = others.filter(|key| *key != "vm" && !OF_POLICY.contains(key)).collect();
    let others = table(&others, keys, "reference/keys.md") + SEE_POLICY;
    assert_current("reference/keys.md", &[others]);
}

/// Fails unless a page has these tables, in this order.
fn assert_current(page: &str, tables: &[String]) {
    let path = format!("docs/{page}");
    let text = fs::read_to_string(root().join(&path)).unwrap();
    let mut parts = text.split(MARK);
    let mut current = parts.next().unwrap_or_default().to_owned();
    let parts: Vec<_> = parts.collect();
    assert_eq!(parts.len(), tables.len(), "{path} has another number of tables below {MARK:?}");
    for (part, table) in parts.into_iter().zip(tables) {
        current = current + MARK + table;
        if let Some((_, rest)) = part.split_once("\n\n") {
            current = current + "\n" + rest;
        }
    }
    docs::assert_current(&path, &current);
}

fn table(names: &[&str], keys: &Value, page: &str) -> String {
    let mut text = "| key | default | values | what it does |\n|---|---|---|---|\n".to_owned();
    for name in names {
        let Key { what, values, default, .. } = Key::of(name, &keys[*name]);
        let [what, values, default] = [Some(what), values, default]
            .map(|cell| cell.map_or_else(|| "–".to_owned(), |cell| self::cell(&cell, page)));
        text += &format!("| `{name}` | {default} | {values} | {what} |\n");
    }
    text
}

fn known_for(patterns: &Value, page: &str) -> String {
    let mut text = "| key | known for |\n|---|---|\n".to_owned();
    for name in ["name", "uuid", "vmm", "namespace", "pod_uid"] {
        let Key { what, .. } = Key::of(name, &patterns[name]);
        text += &format!("| `{name}` | {} |\n", cell(&what, page));
    }
    text
}

/// A cell begins with a small letter, unless it begins with a name such as KubeVirt.
fn cell(text: &str, page: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    let is_name = word.chars().skip(1).any(char::is_uppercase);
    let word = if is_name { word.to_owned() } else { word.to_lowercase() };
    with_links(&(word.clone() + &text[word.len()..]), |name, target| {
        docs::assert_leads_somewhere(&format!("docs/{target}"));
        let target = match target.strip_prefix(page) {
            Some(heading) => heading.to_owned(),
            None => format!("{}{target}", "../".repeat(page.matches('/').count())),
        };
        format!("[{name}]({target})")
    })
}
