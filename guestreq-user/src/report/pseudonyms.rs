//! # Pseudonyms
//!
//! Names of VMs, namespaces and the host, and UUIDs, become `vm1`, `ns1`, `host` and
//! `00000000-0000-0000-0000-000000000001`: the same everywhere in a report. They have no characters
//! that any of its files would escape.

mod fields;
mod forms;
mod learned;
mod metrics;
mod patterns;
mod prefixes;
mod rules;

use serde_json::Value;

use crate::{doctor, host::Vmm};
use fields::{Owner, Role, visit};
use learned::{Label, Learned};
use patterns::Kind;
use prefixes::Prefixes;
use rules::{Rules, When};

/// Characters of evidence that are kept, and of a process' name.
const EVIDENCE: usize = 256;
const COMM: usize = 15;

/// Collects names.
pub struct Names(Learned);

impl Default for Names {
    /// Words that are no names, whatever VMs are called.
    fn default() -> Names {
        let mut learned = Learned::default();
        for (_, checks) in doctor::CHECKS {
            for check in checks {
                [check.id, check.title, check.needed].iter().for_each(|text| learned.words(text));
            }
        }
        // Of guestreq's messages, and of managers' paths.
        learned.words(include_str!("pseudonyms/words.txt"));
        Names(learned)
    }
}

impl Names {
    /// An answer of the agent's, or the like.
    pub fn of_json(&mut self, answer: &Value) {
        visit(&mut answer.clone(), &mut |role, text| self.0.learn(role, text));
    }

    pub fn of_metrics(&mut self, text: &str) {
        metrics::visit(text, &mut |role, text| self.0.learn(role, text));
    }

    pub fn of_text(&mut self, text: &str) {
        self.0.uuids(text);
    }

    /// Text that has no names, such as the kernel's.
    pub fn of_words(&mut self, text: &str) {
        self.0.words(text);
    }

    pub fn of_host(&mut self, name: &str) {
        self.0.host(name);
    }

    pub fn finish(self) -> Pseudonyms {
        Pseudonyms::of(self.0.finish())
    }
}

/// Replaces names.
pub struct Pseudonyms(Option<Replaced>);

struct Replaced {
    learned: Learned,
    rules: Rules,
    prefixes: Prefixes,
}

impl Pseudonyms {
    /// Keeps all names.
    pub fn none() -> Pseudonyms {
        Pseudonyms(None)
    }

    fn of(learned: Learned) -> Pseudonyms {
        let names = learned.all.keys().map(|(_, name)| name.as_str());
        let prefixes = Prefixes::of(names);
        let mut replaced = Replaced { learned, rules: Rules::default(), prefixes };
        replaced.add_rules();
        Pseudonyms(Some(replaced))
    }

    pub fn are_used(&self) -> bool {
        self.0.is_some()
    }

    pub fn json(&self, answer: &mut Value) {
        if let Some(replaced) = &self.0 {
            visit(answer, &mut |role, text| *text = replaced.shown(role, text));
        }
    }

    pub fn metrics(&self, text: &str) -> String {
        let Some(replaced) = &self.0 else { return text.to_owned() };
        metrics::visit(text, &mut |role, text| *text = replaced.shown(role, text))
    }

    /// Free text.
    pub fn text(&self, text: &str) -> String {
        self.0.as_ref().map_or_else(|| text.to_owned(), |it| it.rules.apply(text, None))
    }
}

impl Replaced {
    fn add_rules(&mut self) {
        let mut rules = Rules::default();
        // KubeVirt's names of domains.
        for label in self.learned.labels.values().filter(|it| !it.namespace.is_empty()) {
            let Label { namespace, name, .. } = label;
            let form = format!("{namespace}_{name}");
            let [namespace, name] =
                [self.pseudonym(Kind::Namespace, namespace), self.pseudonym(Kind::Vm, name)];
            rules.add(&form, self.learned.when(&form), &format!("{namespace}_{name}"));
        }
        for (kind, name) in self.learned.all.keys() {
            let pseudonym = self.pseudonym(*kind, name);
            match kind {
                Kind::Part => {}
                Kind::Uuid if forms::is_uuid(name.as_bytes()) => {
                    for (form, pseudonym) in forms::of_uuid(name, &pseudonym) {
                        rules.add(&form, When::Anywhere, &pseudonym);
                    }
                }
                _ => {
                    for form in forms::of_name(name) {
                        rules.add(&form, self.learned.when(&form), &pseudonym);
                    }
                }
            }
        }
        self.rules = rules;
    }

    fn pseudonym(&self, kind: Kind, name: &str) -> String {
        let name = if kind == Kind::Uuid { name.to_lowercase() } else { name.to_owned() };
        let number = self.learned.all.get(&(kind, name));
        number.map_or_else(String::new, |number| self.prefixes.pseudonym(kind, *number))
    }

    /// What stands for a string.
    fn shown(&self, role: Role<'_>, text: &str) -> String {
        match role {
            Role::Word => text.to_owned(),
            Role::Label(_) => self.label(text),
            Role::Name => self.pseudonym(Kind::Vm, text),
            Role::Namespace => self.pseudonym(Kind::Namespace, text),
            Role::Uuid => self.pseudonym(Kind::Uuid, text),
            Role::Process => self.process(text),
            Role::Glob("name") if patterns::is_exact(text) => self.label(text),
            Role::Glob(key) => patterns::glob(key, text, |kind, name| self.pseudonym(kind, name)),
            Role::Patterns => patterns::all(text, |key, glob| self.shown(Role::Glob(key), glob)),
            Role::Evidence(owner) => self.evidence(owner, text),
            Role::Text => self.rules.apply(text, None),
        }
    }

    fn label(&self, label: &str) -> String {
        if let Some(Label { namespace, name, rest }) = self.learned.labels.get(label) {
            let name = self.pseudonym(Kind::Vm, name);
            let namespace = self.pseudonym(Kind::Namespace, namespace);
            let slash = if namespace.is_empty() { "" } else { "/" };
            return format!("{namespace}{slash}{name}{rest}");
        }
        match self.pseudonym(Kind::Uuid, label) {
            uuid if !uuid.is_empty() => uuid,
            _ => self.rules.apply(label, None),
        }
    }

    /// A program's name stays, but a process may be called as its VM is.
    fn process(&self, comm: &str) -> String {
        if Vmm::is_one(comm) {
            return comm.to_owned();
        }
        let vm_of = |begin: &str| {
            let mut names = self.learned.all.keys().filter(|(kind, _)| *kind == Kind::Vm);
            let (kind, name) = names.find(|(_, name)| name.starts_with(begin))?;
            Some(self.pseudonym(*kind, name))
        };
        if let Some(title) = comm.strip_prefix("qemu:") {
            return format!("qemu:{}", vm_of(title).unwrap_or_else(|| "?".to_owned()));
        }
        let cut =
            (comm.chars().count() == COMM && Vmm::of_comm(comm).is_none()).then(|| vm_of(comm));
        cut.flatten().unwrap_or_else(|| self.rules.apply(comm, None))
    }

    fn evidence(&self, owner: &Owner, text: &str) -> String {
        let own = self.pseudonym(Kind::Vm, &owner.name);
        let own = Some(own.as_str()).filter(|own| owner.named && !own.is_empty());
        let shown = self.rules.apply(&patterns::machine(text, own), own);
        match text.chars().count() < EVIDENCE {
            true => shown,
            false => self.rules.apply_to_end(&shown),
        }
    }
}

#[cfg(test)]
mod tests;
