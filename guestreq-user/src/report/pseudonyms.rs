//! # Pseudonyms
//!
//! Names of VMs, namespaces and the host, and UUIDs, become `vm1`, `ns1`, `host` and
//! `00000000-0000-0000-0000-000000000001`: the same everywhere in a report. They have no characters
//! that any of its files would escape. What may be a name and is not known becomes `?`.

mod cgroups;
mod fields;
mod forms;
mod learned;
mod metrics;
mod patterns;
mod quotes;
mod rules;

use serde_json::Value;

use crate::{doctor, host::Vmm};
use fields::{Owner, Role, visit};
use learned::{Label, Learned, MOST_QUOTED};
use patterns::Kind;
use quotes::Before;
use rules::{Rules, When};

/// Characters of a process' name.
const COMM: usize = 15;
const UNKNOWN: &str = "?";
/// What QEMU calls a process, followed by the VM's name.
const TITLE: &str = "qemu:";

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

    /// Messages of guestreq's, which quote names.
    pub fn of_text(&mut self, text: &str) {
        self.0.text(text);
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
}

impl Pseudonyms {
    /// Keeps all names.
    pub fn none() -> Pseudonyms {
        Pseudonyms(None)
    }

    fn of(learned: Learned) -> Pseudonyms {
        let mut replaced = Replaced { learned, rules: Rules::default() };
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

    /// Messages and logs, where any quote may be of a name.
    pub fn text(&self, text: &str) -> String {
        self.0.as_ref().map_or_else(|| text.to_owned(), |it| it.text(text))
    }

    /// Text whose quotes are not of names, such as doctor's about the kernel.
    pub fn plain(&self, text: &str) -> String {
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

    /// Empty if it is not known.
    fn pseudonym(&self, kind: Kind, name: &str) -> String {
        let name = if kind == Kind::Uuid { name.to_lowercase() } else { name.to_owned() };
        let Some(number) = self.learned.all.get(&(kind, name)) else { return String::new() };
        match kind {
            Kind::Vm => format!("vm{number}"),
            Kind::Namespace => format!("ns{number}"),
            Kind::Part => format!("part{number}"),
            Kind::Host => "host".to_owned(),
            Kind::Uuid => format!("00000000-0000-0000-0000-{number:012}"),
        }
    }

    /// What stands for a string.
    fn shown(&self, role: Role<'_>, text: &str) -> String {
        match role {
            Role::Word => text.to_owned(),
            Role::Label(_) => self.known(text).unwrap_or_else(|| UNKNOWN.to_owned()),
            Role::Unnamed => self.unnamed(text),
            Role::Name => self.pseudonym(Kind::Vm, text),
            Role::Namespace => self.pseudonym(Kind::Namespace, text),
            Role::Uuid => self.pseudonym(Kind::Uuid, text),
            Role::Process => self.process(text),
            Role::Glob("name") if patterns::is_exact(text) => self.shown(Role::Label(None), text),
            Role::Glob(key) => patterns::glob(key, text, |kind, name| self.pseudonym(kind, name)),
            Role::Patterns => patterns::all(text, |key, glob| self.shown(Role::Glob(key), glob)),
            Role::Evidence(owner) => self.rules.apply(text, self.own(Some(owner)).as_deref()),
            Role::Cgroup(owner) => {
                let own = self.own(owner).unwrap_or_else(|| UNKNOWN.to_owned());
                cgroups::line(text, &own, |uuid| self.rules.apply(uuid, None))
            }
            Role::Text => self.text(text),
        }
    }

    fn own(&self, owner: Option<&Owner>) -> Option<String> {
        let name = owner.filter(|owner| owner.named).map(|owner| owner.name.as_str())?;
        Some(self.pseudonym(Kind::Vm, name)).filter(|own| !own.is_empty())
    }

    /// What stands for a label, or for another text that is a name as a whole.
    fn known(&self, label: &str) -> Option<String> {
        if let Some(label) = self.learned.labels.get(label) {
            return Some(self.label(label));
        }
        let kinds = [Kind::Uuid, Kind::Vm, Kind::Namespace, Kind::Host];
        let mut pseudonyms = kinds.iter().map(|kind| self.pseudonym(*kind, label));
        if let Some(known) = pseudonyms.find(|known| !known.is_empty()) {
            return Some(known);
        }
        match self.learned.unnamed.contains(label) {
            true => Some(self.unnamed(label)),
            false => (label.is_empty() || learned::is_pid(label)).then(|| label.to_owned()),
        }
    }

    fn label(&self, Label { namespace, name, rest }: &Label) -> String {
        let name = self.pseudonym(Kind::Vm, name);
        let namespace = self.pseudonym(Kind::Namespace, namespace);
        let slash = if namespace.is_empty() { "" } else { "/" };
        format!("{namespace}{slash}{name}{rest}")
    }

    /// A process' name and its pid.
    fn unnamed(&self, label: &str) -> String {
        match label.rsplit_once('-') {
            Some((comm, pid)) => format!("{}-{pid}", self.process(comm)),
            None => self.process(label),
        }
    }

    /// A program's name stays, but a process may be called as its VM is.
    fn process(&self, comm: &str) -> String {
        if Vmm::is_one(comm) {
            return comm.to_owned();
        }
        if let Some(title) = comm.strip_prefix(TITLE) {
            return format!("{TITLE}{}", self.only_one(title));
        }
        let exact = self.pseudonym(Kind::Vm, comm);
        let is_cut = comm.chars().count() == COMM && Vmm::of_comm(comm).is_none();
        match is_cut && exact.is_empty() && self.names(comm).next().is_some() {
            true => self.only_one(comm),
            false => self.rules.apply(comm, None),
        }
    }

    /// Pseudonyms of VMs whose names begin so.
    fn names<'a>(&'a self, begin: &'a str) -> impl Iterator<Item = String> + 'a {
        let vms = self.learned.all.keys().filter(|(kind, _)| *kind == Kind::Vm);
        let vms = vms.filter(move |(_, name)| name.starts_with(begin));
        vms.map(|(kind, name)| self.pseudonym(*kind, name))
    }

    /// The VM whose name begins so, if there is one such.
    fn only_one(&self, begin: &str) -> String {
        let exact = Some(self.pseudonym(Kind::Vm, begin)).filter(|exact| !exact.is_empty());
        let mut names = self.names(begin);
        let first = names.next().filter(|_| names.next().is_none());
        exact.or(first).unwrap_or_else(|| UNKNOWN.to_owned())
    }

    fn text(&self, text: &str) -> String {
        self.rules.apply_or(text, None, |before, rest| self.quote(before, rest))
    }

    /// What stands for a quote or a process' title at the beginning of `rest`, and its length.
    fn quote(&self, before: &str, rest: &str) -> Option<(String, usize)> {
        if let Some(title) = rest.strip_prefix(TITLE) {
            let end = title.find([' ', ':', ',', '"', '\'', ')', '\n']).unwrap_or(title.len());
            let before = format!("{before}{TITLE}");
            let is_known = self.rules.longest(&before, title, None).is_some();
            let is_title = end > 0 && !is_known;
            return is_title.then(|| (self.process(&rest[..TITLE.len() + end]), TITLE.len() + end));
        }
        if !rest.starts_with('"') {
            return None;
        }
        let line = rest.lines().next()?;
        // One that is cut off may be a name and what follows it.
        let Some((text, behind)) = quotes::unquoted(&line[1..]) else {
            return Some((format!("\"{UNKNOWN}"), line.len()));
        };
        let before = before.rsplit('\n').next().unwrap_or_default();
        let shown = match Before::of(before) {
            Before::Key(key) => Some(self.shown(Role::Glob(key), &text))
                .filter(|shown| !shown.is_empty() || text.is_empty()),
            Before::Setting => Some(text),
            Before::Vm => self.known(&text).or_else(|| self.cut(&text)),
            Before::Other => self.known(&text).or_else(|| self.cut(&text)).or_else(|| {
                let is_word = self.learned.is_word(&text);
                is_word.then(|| text.clone())
            }),
        };
        let shown = shown.unwrap_or_else(|| UNKNOWN.to_owned());
        Some((format!("{shown:?}"), line.len() - behind.len()))
    }

    /// What stands for the beginning of a long label.
    fn cut(&self, text: &str) -> Option<String> {
        let is_cut = text.chars().count() == MOST_QUOTED;
        let mut labels = self.learned.labels.iter();
        let (_, label) = labels.find(|(label, _)| is_cut && label.starts_with(text))?;
        Some(self.label(label))
    }
}

#[cfg(test)]
mod tests;
