//! # Names in free text
//!
//! A name that could be a word of the text itself, such as `qemu`, `sum` or `1`, is replaced only
//! where a name is expected; any other one wherever it is a word of its own; a UUID anywhere.

use std::collections::BTreeMap;

/// When a form of a name is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Where a name is expected.
    Expected,
    /// Where it is not a part of a longer word.
    Word,
    Anywhere,
}

/// What comes before a name. Nothing but a name comes after these.
const BEFORE: &[&str] =
    &["-name ", "guest=", "--id ", "--id=", "-uuid ", "uuid=", "microvm@", "qemu:", "VM "];
/// A name of the VM that a text is about is also expected as a folder's or file's name, but these
/// are those of managers.
const FOLDERS: &[&str] = &[
    "kubepods", "kvm", "libvirt", "machine", "qemu", "run", "system", "tmp", "user", "var", "vms",
];
/// Forms of names, and what replaces them.
pub struct Rules {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    next: BTreeMap<char, usize>,
    end: Option<(When, String)>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { nodes: vec![Node::default()] }
    }
}

impl Rules {
    /// Of two rules for a form the first one counts.
    pub fn add(&mut self, form: &str, when: When, pseudonym: &str) {
        let mut at = 0;
        for c in form.chars() {
            let new = self.nodes.len();
            at = *self.nodes[at].next.entry(c).or_insert(new);
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        if at != 0 && self.nodes[at].end.is_none() {
            self.nodes[at].end = Some((when, pseudonym.to_owned()));
        }
    }

    /// Replaces names; `own` is the pseudonym of the VM that the text is about.
    pub fn apply(&self, text: &str, own: Option<&str>) -> String {
        self.apply_or(text, own, |_, _| None)
    }

    /// Replaces names, and what else stands at a place that has none: `other` gets what is before it
    /// and the rest, and returns a replacement and the length of what it replaces.
    pub fn apply_or(
        &self,
        text: &str,
        own: Option<&str>,
        other: impl Fn(&str, &str) -> Option<(String, usize)>,
    ) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let before = &text[..text.len() - rest.len()];
            let length = match self.longest(before, rest, own) {
                Some((pseudonym, length)) => {
                    replaced.push_str(pseudonym);
                    length
                }
                None => match other(before, rest) {
                    Some((shown, length)) => {
                        replaced.push_str(&shown);
                        length
                    }
                    None => {
                        replaced.push(c);
                        c.len_utf8()
                    }
                },
            };
            rest = &rest[length..];
        }
        replaced
    }

    /// The longest name at a place, by its pseudonym and length.
    pub fn longest(&self, before: &str, rest: &str, own: Option<&str>) -> Option<(&str, usize)> {
        let (mut at, mut found) = (0, None);
        for (begin, c) in rest.char_indices() {
            let Some(next) = self.nodes[at].next.get(&c) else { break };
            at = *next;
            let end = begin + c.len_utf8();
            if let Some((when, pseudonym)) = &self.nodes[at].end {
                let name = &rest[..end];
                let is_own = own == Some(pseudonym.as_str());
                if is_name(*when, before, name, &rest[end..], is_own) {
                    found = Some((pseudonym.as_str(), end));
                }
            }
        }
        found
    }

    /// Whether a text has a name as a word.
    pub fn is_word_of(form: &str, text: &str) -> bool {
        text.match_indices(form)
            .any(|(at, _)| is_boundary(&text[..at]) && ends(&text[at + form.len()..]))
    }
}

fn is_name(when: When, before: &str, name: &str, after: &str, is_own: bool) -> bool {
    match when {
        When::Anywhere => true,
        When::Word => is_boundary(before) && ends(after),
        When::Expected => {
            let closed = |marks: &[char]| after.is_empty() || after.starts_with(marks);
            let is_given = BEFORE.iter().any(|mark| before.ends_with(mark))
                && closed(&['"', ',', ';', ':', ' ', '\n']);
            let is_path = is_own && before.ends_with('/') && !FOLDERS.contains(&name);
            is_given || (is_path && closed(&['/', '.', '-', ',', '\n']))
        }
    }
}

/// Whether a word can begin after this.
fn is_boundary(before: &str) -> bool {
    before.chars().next_back().is_none_or(|c| !c.is_alphanumeric()) || is_escape(before)
}

fn ends(after: &str) -> bool {
    after.chars().next().is_none_or(|c| !c.is_alphanumeric())
}

/// Whether a text ends with `\x2d`, `\u00e4`, `%2F` or `\n`.
fn is_escape(text: &str) -> bool {
    let digits = |mark: &str, count: usize| {
        let tail = text.len().checked_sub(mark.len() + count).and_then(|at| text.get(at..));
        let number = tail.and_then(|tail| tail.strip_prefix(mark));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let plain = ["\\n", "\\t", "\\r", "\\0"].iter().any(|escape| text.ends_with(escape));
    plain || digits("\\x", 2) || digits("\\u", 4) || digits("%", 2)
}

#[cfg(test)]
mod tests;
