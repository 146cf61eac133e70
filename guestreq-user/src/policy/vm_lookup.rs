//! # Finding the VM that a user names
//!
//! By label, name (with its namespace or without), UUID, pod's UID or pid. The text must match one
//! VM: if several match, the error lists them; if none, those with similar names. Names may be any
//! text.

use super::{key_of, safety};
use crate::{host::Identity, text::quoted};

/// A VM that may match.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    pub label: &'a str,
    pub identity: &'a Identity,
    pub pid: u32,
    pub exited: bool,
}

/// Why not exactly one VM matches.
#[derive(Debug, PartialEq, Eq)]
pub enum LookupError {
    Unknown(String),
    Ambiguous(String),
}

/// Prefix of a pid, which no name can shadow.
const PID: &str = "pid:";
/// Longer texts than labels are not typing errors.
const MAX_TYPED: usize = 256;

/// The matching VM. Running VMs take precedence over exited ones.
pub fn find(text: &str, all: &[Candidate<'_>]) -> Result<usize, LookupError> {
    for exited in [false, true] {
        let hits: Vec<usize> = (0..all.len())
            .filter(|&i| all[i].exited == exited && is_called(&all[i], text))
            .collect();
        match hits.as_slice() {
            [] => {}
            // Overrides apply to all VMs of a name: the one with that label stands for them.
            [first, rest @ ..] if rest.iter().all(|&i| same_vm(&all[i], &all[*first])) => {
                return Ok(hits.iter().copied().find(|&i| all[i].label == text).unwrap_or(*first));
            }
            _ => return Err(LookupError::Ambiguous(ambiguous(text, &hits, all))),
        }
    }
    Err(LookupError::Unknown(unknown(text, all)))
}

fn is_called(vm: &Candidate<'_>, text: &str) -> bool {
    if let Some(pid) = text.strip_prefix(PID).and_then(|pid| pid.parse::<u32>().ok()) {
        return vm.pid == pid;
    }
    let Identity { name, named, uuid, pod_uid, .. } = vm.identity;
    let is = |uid: &str| !uid.is_empty() && uid.eq_ignore_ascii_case(text);
    vm.label == text
        || (*named && (name == text || vm.identity.full_name() == text))
        || is(uuid)
        || is(pod_uid)
        || text.parse() == Ok(vm.pid)
}

fn same_vm(a: &Candidate<'_>, b: &Candidate<'_>) -> bool {
    key_of(a.identity).is_some() && key_of(a.identity) == key_of(b.identity)
}

fn ambiguous(text: &str, hits: &[usize], all: &[Candidate<'_>]) -> String {
    let hits: Vec<_> =
        hits.iter().map(|&i| format!("{} ({PID}{})", quoted(all[i].label), all[i].pid)).collect();
    format!("{} matches several VMs: {}: give the pid", quoted(text), safety::some_of(&hits))
}

fn unknown(text: &str, all: &[Candidate<'_>]) -> String {
    let running: Vec<&str> = all.iter().filter(|vm| !vm.exited).map(|vm| vm.label).collect();
    let no_vm = format!("no VM {}", quoted(text));
    if running.is_empty() {
        return format!("{no_vm}: no VM is running");
    }
    format!("{no_vm}: {}", instead(text, &running))
}

/// Suggests running VMs if none matches `text`.
pub fn instead(text: &str, running: &[&str]) -> String {
    let some = |names: &[&str]| {
        safety::some_of(&names.iter().map(|name| quoted(name)).collect::<Vec<_>>())
    };
    match nearest(text, running).as_slice() {
        [] => format!("there are {}", some(running)),
        near => format!("did you mean {}?", some(near)),
    }
}

/// Names within a few typing errors, nearest first.
fn nearest<'a>(text: &str, names: &[&'a str]) -> Vec<&'a str> {
    let length = text.chars().count();
    if length > MAX_TYPED {
        return Vec::new();
    }
    let few = 1 + length / 4;
    let mut near: Vec<_> = names
        .iter()
        .map(|name| (strsim::osa_distance(text, name), *name))
        .filter(|(distance, _)| *distance <= few)
        .collect();
    near.sort_unstable();
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests;
