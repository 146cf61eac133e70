//! # The names that are replaced
//!
//! All of them are collected first. Only then it is known which of them could be words of the text,
//! and which pseudonyms are free.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    fields::{Owner, Role},
    forms,
    patterns::{self, Kind},
    quotes::{self, Before},
    rules::{Rules, When},
};
use crate::host::{Identity, Vmm};

/// A shorter name could be anything.
const LEAST: usize = 3;
/// Characters of a name that messages quote, at most.
pub const MOST_QUOTED: usize = 64;

/// A label's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub namespace: String,
    pub name: String,
    /// What makes it unique.
    pub rest: String,
}

#[derive(Default)]
pub struct Learned {
    /// Numbered at last, as they are sorted: another report of the same VMs has the same numbers.
    pub all: BTreeMap<(Kind, String), usize>,
    pub labels: BTreeMap<String, Label>,
    /// Labels of VMs without a name.
    pub unnamed: BTreeSet<String>,
    /// Labels of VMs that are known by nothing else, so far.
    loose: BTreeSet<String>,
    /// What texts quote: such labels, if they are nothing else.
    quotes: BTreeSet<String>,
    /// Texts without names.
    texts: BTreeSet<String>,
    /// Their words.
    words: BTreeSet<String>,
}

impl Learned {
    fn add(&mut self, kind: Kind, name: &str) {
        if !name.is_empty() {
            self.all.insert((kind, name.to_owned()), 0);
        }
    }

    /// Learns from a string.
    pub fn learn(&mut self, role: Role<'_>, text: &str) {
        match role {
            Role::Label(Some(owner)) if owner.named => self.label(owner, text),
            Role::Label(_) => {
                self.loose.insert(text.to_owned());
            }
            Role::Name => self.add(Kind::Vm, text),
            Role::Namespace => self.add(Kind::Namespace, text),
            Role::Uuid => self.add(Kind::Uuid, &text.to_lowercase()),
            Role::Glob(key) => self.glob(key, text),
            Role::Patterns => {
                let all = patterns::each(text).unwrap_or_default();
                all.iter().for_each(|(key, glob)| self.glob(key, glob));
            }
            Role::Process => {}
            Role::Unnamed => {
                self.unnamed.insert(text.to_owned());
            }
            Role::Evidence(_) | Role::Cgroup(_) => self.uuids(text),
            Role::Text => self.text(text),
            Role::Word => self.words(text),
        }
    }

    pub fn host(&mut self, name: &str) {
        let short = name.split('.').next().unwrap_or(name);
        for name in [name, short].into_iter().filter(|name| *name != "localhost") {
            self.add(Kind::Host, name);
        }
    }

    /// Text for people. It quotes names: also those of VMs that no answer has any more.
    pub fn text(&mut self, text: &str) {
        self.uuids(text);
        for (before, quoted) in quotes::each(text) {
            // A longer one may be cut.
            let is_whole = quoted.chars().count() < MOST_QUOTED;
            let labels = match before {
                Before::Key(key) => {
                    self.glob(key, &quoted);
                    continue;
                }
                Before::Setting => continue,
                Before::Vm => &mut self.loose,
                Before::Other => &mut self.quotes,
            };
            if is_whole {
                labels.insert(quoted);
            }
        }
    }

    /// UUIDs of whatever it is, such as another VM of a manager.
    fn uuids(&mut self, text: &str) {
        forms::uuids_in(text).iter().for_each(|uuid| self.add(Kind::Uuid, uuid));
    }

    /// Text without names, such as documentation.
    pub fn words(&mut self, text: &str) {
        if self.texts.insert(text.to_owned()) {
            self.words.extend(words_of(text).map(str::to_owned));
        }
    }

    fn label(&mut self, owner: &Owner, label: &str) {
        let (namespace, rest) = owner.parts_of(label);
        self.add(Kind::Namespace, &namespace);
        self.add(Kind::Vm, &owner.name);
        let (name, rest) = (owner.name.clone(), rest.to_owned());
        self.labels.insert(label.to_owned(), Label { namespace, name, rest });
    }

    fn glob(&mut self, key: &str, glob: &str) {
        if glob.contains(['*', '?']) {
            glob.split(['*', '?']).for_each(|part| self.add(Kind::Part, part));
            return;
        }
        match key {
            "name" => {
                let rest = String::new();
                let Identity { name, namespace, .. } = Identity::called(glob);
                self.add(Kind::Namespace, &namespace);
                self.add(Kind::Vm, &name);
                let label = Label { namespace, name, rest };
                self.labels.entry(glob.to_owned()).or_insert(label);
            }
            "vmm" => {}
            "namespace" => self.add(Kind::Namespace, glob),
            _ => self.add(Kind::Uuid, &glob.to_lowercase()),
        }
    }

    /// The remaining labels are of VMs that have exited, or of overrides for such: a name with or
    /// without its namespace, a UUID, or what a process was found by.
    fn settle(&mut self) {
        for quoted in std::mem::take(&mut self.quotes) {
            let is = |kind: Kind| self.all.contains_key(&(kind, quoted.clone()));
            if !is(Kind::Namespace) && !is(Kind::Host) && !self.is_word(&quoted) {
                self.loose.insert(quoted);
            }
        }
        self.loose.remove("");
        for label in std::mem::take(&mut self.loose) {
            let is_name = self.all.contains_key(&(Kind::Vm, label.clone()));
            let is_other = is_pid(&label) && !is_name || self.unnamed.contains(&label);
            if self.labels.contains_key(&label) || is_other {
                continue;
            }
            let is_uuid = self.all.contains_key(&(Kind::Uuid, label.to_lowercase()));
            if !is_name && is_uuid || forms::is_uuid(label.as_bytes()) {
                self.add(Kind::Uuid, &label.to_lowercase());
                continue;
            }
            let at_pid = |(_, pid): &(&str, &str)| pid.parse::<u32>().is_ok();
            let (full, rest) = match label.rsplit_once('@').filter(at_pid) {
                Some((full, _)) => (full, &label[full.len()..]),
                None => (label.as_str(), ""),
            };
            let Identity { name, namespace, .. } = Identity::called(full);
            self.add(Kind::Namespace, &namespace);
            self.add(Kind::Vm, &name);
            let rest = rest.to_owned();
            self.labels.insert(label, Label { namespace, name, rest });
        }
    }

    /// No more names follow.
    pub fn finish(mut self) -> Learned {
        self.settle();
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for ((kind, _), number) in &mut self.all {
            let count = counts.entry(*kind).or_default();
            *count += 1;
            *number = *count;
        }
        self
    }

    /// When a form of a name is replaced in free text.
    pub fn when(&self, form: &str) -> When {
        let is_short = form.chars().count() < LEAST || !form.contains(char::is_alphabetic);
        match is_short || Vmm::is_one(form) || self.is_word(form) {
            true => When::Expected,
            false => When::Word,
        }
    }

    /// Whether a text without names has it.
    pub fn is_word(&self, form: &str) -> bool {
        // Most names have a word that no text has.
        words_of(form).all(|word| self.words.contains(word))
            && self.texts.iter().any(|text| Rules::is_word_of(form, text))
    }
}

/// Whether it stands for a process: `pid:7`, or a number.
pub fn is_pid(label: &str) -> bool {
    label.strip_prefix("pid:").unwrap_or(label).parse::<u32>().is_ok()
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(learned: &Learned, of: Kind) -> Vec<&str> {
        let names = learned.all.keys().filter(|(kind, _)| *kind == of);
        names.map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn labels_of_unknown_vms_are_names_uuids_or_pids() {
        const UUID: &str = "7a1b2c3d-0000-1111-2222-93bd94900001";
        let mut learned = Learned::default();
        let owner = Owner { name: "a/b".to_owned(), named: true, namespace: String::new() };
        for label in ["gone", "prod/web@12", "a/b", "pid:7", "4711", UUID, "", "Not/A namespace"] {
            learned.learn(Role::Label(None), label);
        }
        learned.learn(Role::Label(Some(&owner)), "a/b");
        let learned = learned.finish();
        assert_eq!(all(&learned, Kind::Vm), ["Not/A namespace", "a/b", "gone", "web"]);
        assert_eq!(all(&learned, Kind::Namespace), ["prod"]);
        assert_eq!(all(&learned, Kind::Uuid), [UUID]);
        let web = &learned.labels["prod/web@12"];
        assert_eq!((web.namespace.as_str(), web.rest.as_str()), ("prod", "@12"));
    }

    #[test]
    fn names_that_only_texts_have_are_learned() {
        let mut learned = Learned::default();
        learned.words("mode audit of the default");
        learned.learn(Role::Namespace, "prod");
        learned.learn(Role::Unnamed, "kvm-9");
        learned.text(
            "new_vm: VM \"acme-db\", qemu\nits namespace is \"prod\"; \"acme-web\": mode \"audit\"\n\
             exited_vm: VM \"kvm-9\", and \"prod\" of name = \"team*\"",
        );
        let learned = learned.finish();
        assert_eq!(all(&learned, Kind::Vm), ["acme-db", "acme-web"]);
        assert_eq!(all(&learned, Kind::Namespace), ["prod"]);
        assert_eq!(all(&learned, Kind::Part), ["team"]);
    }

    #[test]
    fn a_word_of_the_text_is_no_distinctive_name() {
        let mut learned = Learned::default();
        learned.learn(Role::Word, "snp_guest_request");
        learned.words("Guest requests by VM: the sum");
        for (form, when) in [
            ("web", When::Word),
            ("sum-1", When::Word),
            ("sum", When::Expected),
            ("guest", When::Expected),
            ("snp_guest_request", When::Expected),
            ("qemu", When::Expected),
            ("ab", When::Expected),
            ("123456", When::Expected),
        ] {
            assert_eq!(learned.when(form), when, "{form}");
        }
    }
}
