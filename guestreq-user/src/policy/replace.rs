//! # Replacing what files say
//!
//! All at once: the configuration's files when they are read again, or the file that
//! `policy apply` was given. As with [`super::change`], nothing is changed here.

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{
    Applied, Book, Effective, Override, Refusal, Seen, Sheet, Stamp, naming::quoted, refusals,
};

/// What `policy apply` asks for: this file instead of the last one, or none.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    pub sheet: Option<Sheet>,
    /// Even if running VMs lose VMPCKs.
    #[serde(default)]
    pub yes: bool,
}

/// What becomes of one VM, or of those of which nothing is said.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Difference {
    /// Its label; `None` is the default.
    pub vm: Option<String>,
    pub old: Effective,
    pub new: Effective,
}

/// A book that may take another's place.
#[derive(Debug)]
pub struct Replacement {
    pub book: Book,
    pub changed: Vec<Difference>,
    /// Whether something is enforced that was not.
    pub begins: bool,
    pub warnings: Vec<String>,
}

impl Book {
    /// What it would be to have another configuration.
    pub fn with_file(&self, file: Sheet, vms: &[Seen<'_>]) -> Result<Replacement, Refusal> {
        self.replaced_by(Book { file, ..self.clone() }, vms)
    }

    /// The same for another file that was applied.
    pub fn with_applied(
        &self,
        apply: &Apply,
        stamp: &Stamp,
        vms: &[Seen<'_>],
    ) -> Result<Replacement, Refusal> {
        let mut book = self.clone();
        let mut warnings = Vec::new();
        if let Some(sheet) = &apply.sheet {
            if sheet.is_empty() {
                let why = "the file says nothing: to drop what was applied, use --clear";
                return Err(Refusal::Refused(why.to_owned()));
            }
            let slow =
                sheet.limits().find_map(|(limit, at)| Some((refusals::too_slow(limit)?, at)));
            if let Some((why, at)) = slow {
                return Err(Refusal::Refused(format!("{at}: {why}")));
            }
            warnings.extend(self.goes_before());
        }
        let applied = |sheet: &Sheet| Applied { stamp: stamp.clone(), sheet: sheet.clone() };
        book.overrides.applied = apply.sheet.as_ref().map(applied);
        let mut replacement = self.replaced_by(book, vms)?;
        if !apply.yes
            && let Some(why) = replacement.warnings.first()
        {
            return Err(Refusal::Refused(format!("{why} (--yes does it all the same)")));
        }
        let known = self.warnings();
        let new = replacement.book.warnings().into_iter().filter(|why| !known.contains(why));
        replacement.warnings.extend(new.chain(warnings));
        Ok(replacement)
    }

    /// Fails if it cannot be; the warnings are what running VMs would lose.
    fn replaced_by(&self, book: Book, vms: &[Seen<'_>]) -> Result<Replacement, Refusal> {
        if let Some((_, why)) = book.contradiction() {
            return Err(Refusal::Refused(why));
        }
        let touched = refusals::touched(self, &book, vms);
        let warnings = refusals::losing(&touched).into_iter().collect();
        let mut all = vec![Difference { vm: None, old: self.default(), new: book.default() }];
        all.extend(touched.into_iter().map(|vm| Difference {
            vm: Some(vm.label.to_owned()),
            old: vm.before,
            new: vm.after,
        }));
        let starts = |all: &Difference| {
            let [old, new] = [&all.old, &all.new].map(|policy| policy.mode.value.0);
            old != Mode::Enforce && new == Mode::Enforce
        };
        let begins = (book.enforces() && !self.enforces()) || all.iter().any(starts);
        all.retain(|all| !all.old.says_the_same(&all.new));
        Ok(Replacement { book, changed: all, begins, warnings })
    }

    /// What was set one by one, and so goes before a file.
    fn goes_before(&self) -> Option<String> {
        let keys = |set: &Override| {
            let keys = [
                ("mode", set.mode.is_some()),
                ("allow", set.allow.is_some()),
                ("limit", set.limit.is_some()),
            ];
            keys.into_iter()
                .filter(|(_, set)| *set)
                .map(|(key, _)| key)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let default = Some(keys(&self.overrides.default)).filter(|keys| !keys.is_empty());
        let default = default.map(|keys| format!("{keys} of the default"));
        let vms = self.overrides.vms.iter();
        let vms = vms.map(|(vm, set)| format!("{} of {}", keys(set), quoted(vm)));
        let set: Vec<_> = default.into_iter().chain(vms).collect();
        (!set.is_empty()).then(|| {
            format!(
                "set by command before, and goes before the file: {} (`guestreq policy clear`, \
                 `guestreq limit clear`)",
                refusals::some_of(&set)
            )
        })
    }
}

/// `default: mode audit, … -> mode enforce, …; "web": …`: what changed, on a line.
pub fn describe(changed: &[Difference]) -> String {
    if changed.is_empty() {
        return "no policy of the default or of a running VM differs".to_owned();
    }
    let each = |Difference { vm, old, new }: &Difference| {
        let who = vm.as_deref().map_or_else(|| "default".to_owned(), quoted);
        format!("{who}: {old} -> {new}")
    };
    refusals::some_of(&changed.iter().map(each).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
