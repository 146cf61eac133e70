//! # Rules for some VMs
//!
//! The `[[vm]]` tables of a file. Of the rules that match a VM, the first one that sets a key
//! wins for that key.

mod warnings;

use std::borrow::Cow;

use guestreq_common::policy::Mode;
use serde::{Deserialize, Deserializer, de};

use super::{
    Glob, Limit, Match, Named, Rule, Types, Weight,
    safety::{self, Service},
};
use crate::{host::Identity, text::quoted};

/// A rule in a file. Stored rules are read as [`Rule`], since an older version may have accepted
/// lower limits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[vm]] table")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileRule {
    /// Which VMs: all patterns that are given must match
    ///
    /// Values: at least one of `name`, `uuid`, `namespace`, `pod_uid` and `vmm`
    #[serde(rename = "match")]
    matches: Match,
    mode: Option<Named<Mode>>,
    allow: Option<Types>,
    limit: Option<FileLimit>,
    weight: Option<Weight>,
}

impl From<FileRule> for Rule {
    fn from(FileRule { matches, mode, allow, limit, weight }: FileRule) -> Rule {
        Rule { matches, mode, allow, limit: limit.map(|limit| limit.0), weight }
    }
}

/// A limit in a file: one under which well-behaved guests need rescues needs `force`.
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileLimit(pub Limit);

impl<'de> Deserialize<'de> for FileLimit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<FileLimit, D::Error> {
        let limit = Limit::deserialize(from)?;
        match safety::too_slow(limit, Service::PUBLISHED) {
            Some(why) => Err(de::Error::custom(format!("{why}, or force = true next to it"))),
            None => Ok(FileLimit(limit)),
        }
    }
}

impl Match {
    pub fn matches(&self, vm: &Identity) -> bool {
        self.mismatch(vm).is_none()
    }

    /// Why it does not match a VM: the first pattern that does not.
    pub fn mismatch(&self, vm: &Identity) -> Option<String> {
        self.patterns().find_map(|(key, pattern)| mismatch(key, pattern, vm))
    }

    /// Why a valid pattern matches no VM.
    pub fn warning(&self) -> Option<String> {
        self.patterns().find_map(|(key, pattern)| match key {
            "name" => warnings::of_a_namesake(pattern).or_else(|| warnings::of_a_process(pattern)),
            "uuid" | "pod_uid" => warnings::of_another_form(key, pattern)
                .or_else(|| warnings::of_no_uuid(key, pattern)),
            "namespace" => warnings::of_no_namespace(pattern),
            "vmm" => warnings::of_a_program(pattern),
            _ => None,
        })
    }
}

/// Why a pattern does not match a VM.
fn mismatch(key: &str, pattern: &Glob, vm: &Identity) -> Option<String> {
    let matches = |value: &str| !value.is_empty() && pattern.matches(value);
    let in_any_case = |value: &str| !value.is_empty() && pattern.matches_in_any_case(value);
    let (value, is_so) = match key {
        // A process' name is not its VM's.
        "name" if !vm.named => return Some("it has no name of its own".to_owned()),
        // With its namespace, as shown, or without.
        "name" if !vm.namespace.is_empty() && pattern.as_str().contains('/') => {
            (vm.full_name(), matches(&vm.full_name()) || matches(&vm.name))
        }
        "name" => (Cow::Borrowed(vm.name.as_str()), matches(&vm.name)),
        // In any case, as for `--vm`.
        "uuid" => (Cow::Borrowed(vm.uuid.as_str()), in_any_case(&vm.uuid)),
        "namespace" => (Cow::Borrowed(vm.namespace.as_str()), matches(&vm.namespace)),
        "pod_uid" => (Cow::Borrowed(vm.pod_uid.as_str()), in_any_case(&vm.pod_uid)),
        _ => (Cow::Borrowed(vm.vmm.as_str()), matches(&vm.vmm)),
    };
    match value.is_empty() {
        _ if is_so => None,
        true => Some(format!("its {key} is not known")),
        false => Some(format!("its {key} is {}", quoted(&value))),
    }
}

#[cfg(test)]
mod tests;
