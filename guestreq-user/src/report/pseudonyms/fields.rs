//! # Where answers have names
//!
//! By the keys of their objects, as `wire` defines them.

use serde_json::{Map, Value};

use crate::host::clean;

/// What a string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// A VM's label, of this VM if that is known.
    Label(Option<&'a Owner>),
    Name,
    Namespace,
    /// Of a VM or its pod.
    Uuid,
    /// A process' name.
    Process,
    /// The label of a VM without a name: a process' name and pid.
    Unnamed,
    /// A rule's pattern for this key.
    Glob(&'a str),
    /// Several with their keys: `name = "web-*", vmm = "qemu"`.
    Patterns,
    /// A part of a command line of this VM.
    Evidence(&'a Owner),
    /// A line of /proc/PID/cgroup, of this VM if that is known.
    Cgroup(Option<&'a Owner>),
    /// Text for people, and paths.
    Text,
    /// One of guestreq's own words, a number or a time.
    Word,
}

/// The VM that an object is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub name: String,
    /// Whether that is its own name and not a process'.
    pub named: bool,
    pub namespace: String,
}

/// Keys of words, numbers and times of guestreq's own. All others, new ones included, are of texts: a
/// word in a text stays what it is.
const WORDS: &[&str] = &[
    "agent",
    "allow",
    "at",
    "backend",
    "burst",
    "cause",
    "command",
    "decision",
    "failed_command",
    "failed_result",
    "field",
    "from",
    "holds",
    "kind",
    "limit",
    "map",
    "message",
    "mode",
    "of",
    "pending",
    "rate",
    "read_at",
    "result",
    "share",
    "started",
    "state",
    "target",
    "time",
    "value",
    "vcpu_denied",
    "version",
    "weight",
];

/// Calls `each` for every string of an answer, and for keys that are names.
pub fn visit(answer: &mut Value, each: &mut dyn FnMut(Role<'_>, &mut String)) {
    walk(answer, Place { key: "", parent: "", own: None, owner: None }, each);
}

#[derive(Clone, Copy)]
struct Place<'a> {
    key: &'a str,
    parent: &'a str,
    /// Of the object itself.
    own: Option<&'a Owner>,
    /// Of the object, or of one that it is a part of.
    owner: Option<&'a Owner>,
}

fn walk(value: &mut Value, place: Place<'_>, each: &mut dyn FnMut(Role<'_>, &mut String)) {
    match value {
        Value::String(text) => each(role(place, text), text),
        Value::Array(all) => all.iter_mut().for_each(|item| walk(item, place, each)),
        Value::Object(map) => {
            let own = Owner::of_object(map);
            // What it is a part of.
            let from = map.get("from").and_then(Value::as_str).map(str::to_owned);
            let text = match from.as_deref() {
                Some("comm") => "vmm",
                Some("cgroup") => "cgroups",
                _ => "text",
            };
            if place.key == "absent" {
                let old = std::mem::take(map);
                map.extend(old.into_iter().map(|(mut name, policy)| {
                    each(Role::Label(None), &mut name);
                    (name, policy)
                }));
            }
            for (key, item) in map.iter_mut() {
                if place.key != "absent" {
                    each(Role::Word, &mut key.clone());
                }
                let key = if key == "text" { text } else { key.as_str() };
                let owner = own.as_ref().or(place.owner);
                walk(item, Place { key, parent: place.key, own: own.as_ref(), owner }, each);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn role<'a>(Place { key, parent, own, owner }: Place<'a>, text: &str) -> Role<'a> {
    let unnamed = own.is_some_and(|own| !own.named);
    match key {
        "name" | "uuid" | "namespace" | "pod_uid" if parent == "match" => Role::Glob(key),
        "match" => Role::Patterns,
        "vm" if unnamed => Role::Unnamed,
        "vm" => Role::Label(own),
        "behind" => Role::Label(None),
        "name" if unnamed => Role::Process,
        "name" => Role::Name,
        "namespace" => Role::Namespace,
        "uuid" | "pod_uid" => Role::Uuid,
        "vmm" => Role::Process,
        "text" => owner.map_or(Role::Text, Role::Evidence),
        "cgroups" => Role::Cgroup(owner),
        // The name of a reason.
        "reason" if !text.contains(' ') => Role::Word,
        _ if WORDS.contains(&key) => Role::Word,
        _ => Role::Text,
    }
}

impl Owner {
    /// The VM of an object with its name, or its identity.
    fn of_object(map: &Map<String, Value>) -> Option<Owner> {
        if let Some(Value::Object(identity)) = map.get("identity") {
            return Owner::of_object(identity);
        }
        let owner = Owner::of(&|key| Some(map.get(key)?.as_str()?.to_owned()))?;
        let named = map.get("named").and_then(Value::as_bool).unwrap_or(owner.named);
        Some(Owner { named, ..owner })
    }

    /// By what belongs to a key.
    pub fn of(text: &dyn Fn(&str) -> Option<String>) -> Option<Owner> {
        let name = text("name")?;
        let named = text("vm").is_none_or(|label| !is_of_a_process(&label, &name));
        Some(Owner { name, named, namespace: text("namespace").unwrap_or_default() })
    }

    /// Namespace, name and the rest of a label.
    pub fn parts_of<'a>(&self, label: &'a str) -> (String, &'a str) {
        let name = clean(&self.name);
        // What makes a label unique begins so; else it is the namespace that begins as the name does.
        let is_rest = |rest: &&str| rest.is_empty() || rest.starts_with('@');
        if self.namespace.is_empty()
            && let Some(rest) = label.strip_prefix(&name).filter(is_rest)
        {
            return (String::new(), rest);
        }
        // Events have no namespace.
        let (namespace, rest) = label.split_once('/').unwrap_or(("", label));
        (namespace.to_owned(), rest.strip_prefix(&name).unwrap_or_default())
    }
}

/// Whether a label is a process' name and its pid, as for a VM without a name.
fn is_of_a_process(label: &str, name: &str) -> bool {
    let pid = label.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    pid.is_some_and(|pid| {
        !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(test)]
mod tests;
