//! # Tables of keys in docs/policy.md and docs/reference/keys.md

use std::fs;

use serde_json::Value;

use super::{
    key::{Key, in_a_sentence, with_links},
    undescribed,
};
use crate::docs::{self, root};

/// Above each table; the table ends at the next empty line.
const MARK: &str = "<!-- made of the sources: UPDATE_DOCS=1 cargo test -p guestreq -->\n\n";

/// Described in docs/policy.md.
const OF_POLICY: [&str; 7] =
    ["mode", "backend", "vcpu_denied", "allow", "limit", "weight", "state"];

/// The order of docs/policy.md.
const OF_LIMIT: [&str; 4] = ["share", "rate", "burst", "force"];
const OF_MATCH: [&str; 5] = ["name", "uuid", "vmm", "namespace", "pod_uid"];

#[test]
fn the_tables_of_keys_are_current() {
    let schema = undescribed();
    let keys = &schema["properties"];
    let (limit, patterns) = (&keys["limit"], &keys["vm"]["items"]["properties"]["match"]);
    assert_complete(&OF_LIMIT, limit);
    assert_complete(&OF_MATCH, patterns);
    let policy = [
        table(&OF_POLICY, keys, "policy.md"),
        known_for(&patterns["properties"], "policy.md"),
        table(&OF_LIMIT, &limit["properties"], "policy.md"),
    ];
    assert_current("policy.md", &policy);
    let others = keys.as_object().unwrap().keys().map(String::as_str);
    let others: Vec<_> = others.filter(|key| *key != "vm" && !OF_POLICY.contains(key)).collect();
    let others = table(&others, keys, "reference/keys.md") + &see_policy();
    assert_current("reference/keys.md", &[others]);
}

/// A row of other keys.
fn see_policy() -> String {
    let keys: Vec<_> = OF_POLICY.iter().map(|key| format!("`{key}`")).collect();
    format!(
        "| {}, `[[vm]]` | | see [policy.md](../policy.md) | which requests VMs may send, and what \
         happens to other requests |\n",
        keys.join(", ")
    )
}

/// Fails unless a table's rows and its comment have each of its keys.
fn assert_complete(rows: &[&str], table: &Value) {
    let keys = table["properties"].as_object().unwrap();
    let comment = table["description"].as_str().unwrap();
    for key in keys.keys() {
        assert!(rows.contains(&key.as_str()), "{key} is missing in {rows:?}");
        assert!(comment.contains(&format!("`{key}`")), "{key} is missing in {comment:?}");
    }
    assert_eq!(rows.len(), keys.len(), "{rows:?}");
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
        let Key { what, values, default } = Key::of(name, &keys[*name]);
        let [what, values, default] = [Some(what), values, default]
            .map(|cell| cell.map_or_else(|| "–".to_owned(), |cell| self::cell(&cell, page)));
        text += &format!("| `{name}` | {default} | {values} | {what} |\n");
    }
    text
}

fn known_for(patterns: &Value, page: &str) -> String {
    let mut text = "| key | known for |\n|---|---|\n".to_owned();
    for name in OF_MATCH {
        let Key { what, .. } = Key::of(name, &patterns[name]);
        text += &format!("| `{name}` | {} |\n", cell(&what, page));
    }
    text
}

fn cell(text: &str, page: &str) -> String {
    with_links(&in_a_sentence(text), |name, target| {
        docs::assert_leads_somewhere(&format!("docs/{target}"));
        let target = match target.strip_prefix(page) {
            Some(heading) => heading.to_owned(),
            None => format!("{}{target}", "../".repeat(page.matches('/').count())),
        };
        format!("[{name}]({target})")
    })
}
