//! # Overrides: policy set by the command line
//!
//! Stored in a file of their own, so that they survive a restart. They override the configuration
//! until they are cleared.

use std::{borrow::Cow, collections::BTreeMap};

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{Limit, Named, PolicyFile, Stamp, Types, Weight};
use crate::host::Identity;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Stamped<T> {
    pub value: T,
    #[serde(flatten)]
    pub stamp: Stamp,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Stamped<Named<Mode>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Stamped<Types>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Stamped<Limit>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Stamped<Weight>>,
}

impl Override {
    fn is_empty(&self) -> bool {
        *self == Override::default()
    }
}

/// A file applied by `policy apply`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Applied {
    #[serde(flatten)]
    pub stamp: Stamp,
    pub policy_file: PolicyFile,
}

/// All that is set. VMs are known by [`key_of`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    #[serde(default, skip_serializing_if = "Override::is_empty")]
    pub default: Override,
    #[serde(default)]
    pub vms: BTreeMap<String, Override>,
    /// The last applied policy file; single overrides take precedence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// The key of a VM that survives restarts of the VM and the agent: its full name, without the pid
/// that a label may have; without a name its UUID; `None` without either.
pub fn key_of(vm: &Identity) -> Option<Cow<'_, str>> {
    let key = if vm.named { vm.full_name() } else { Cow::Borrowed(vm.uuid.as_str()) };
    (!key.is_empty()).then_some(key)
}

impl Overrides {
    pub fn of(&self, vm: &Identity) -> Option<&Override> {
        self.vms.get(self.key(vm)?.as_ref())
    }

    /// The key of a VM's override, existing or new. UUIDs match in any case.
    pub fn key<'a>(&'a self, vm: &'a Identity) -> Option<Cow<'a, str>> {
        let key = key_of(vm)?;
        if vm.named || self.vms.contains_key(key.as_ref()) {
            return Some(key);
        }
        let same = self.vms.keys().find(|kept| kept.eq_ignore_ascii_case(&key));
        Some(same.map_or(key, |kept| Cow::Borrowed(kept.as_str())))
    }

    /// Edits a VM's override, or with `None` the default's. Removes it if it sets nothing.
    pub fn edit(&mut self, key: Option<&str>, edit: impl FnOnce(&mut Override)) {
        let Some(key) = key else { return edit(&mut self.default) };
        let mut of_vm = self.vms.remove(key).unwrap_or_default();
        edit(&mut of_vm);
        if !of_vm.is_empty() {
            self.vms.insert(key.to_owned(), of_vm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_s_key_is_its_name_or_else_its_uuid() {
        let vm = |name: &str, named, uuid: &str| Identity {
            name: name.to_owned(),
            named,
            uuid: uuid.to_owned(),
            ..Identity::default()
        };
        assert_eq!(key_of(&vm("web", true, "7a")).as_deref(), Some("web"));
        assert_eq!(key_of(&vm("qemu", false, "7a")).as_deref(), Some("7a"));
        assert_eq!(key_of(&vm("qemu", false, "")), None);
        let in_prod = Identity { namespace: "prod".to_owned(), ..vm("web", true, "7a") };
        assert_eq!(key_of(&in_prod).as_deref(), Some("prod/web"), "not that of another namespace");
    }

    #[test]
    fn an_override_of_a_uuid_matches_in_any_case_and_is_stored_once() {
        let stamp = Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() };
        let off = |of: &mut Override| of.limit = Some(Stamped { value: Limit::Off, stamp });
        let mut overrides = Overrides::default();
        overrides.edit(Some("7a-bc"), off);
        let vm = |uuid: &str| Identity { uuid: uuid.to_owned(), ..Identity::default() };
        assert!(overrides.of(&vm("7a-bc")).is_some() && overrides.of(&vm("7A-BC")).is_some());
        assert_eq!(overrides.key(&vm("7A-BC")).as_deref(), Some("7a-bc"));
        assert_eq!(overrides.key(&vm("7B")).as_deref(), Some("7B"));
        let named = Identity { named: true, name: "7A-BC".to_owned(), ..vm("") };
        assert!(overrides.of(&named).is_none(), "names differ by case");
        assert_eq!(overrides.key(&named).as_deref(), Some("7A-BC"));
    }

    #[test]
    fn an_override_that_sets_nothing_is_removed() {
        let mut overrides = Overrides::default();
        let stamp = Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() };
        let off = Stamped { value: Limit::Off, stamp };
        overrides.edit(Some("web"), |of_web| of_web.limit = Some(off.clone()));
        overrides.edit(None, |default| default.limit = Some(off));
        assert!(overrides.vms.contains_key("web"));
        overrides.edit(Some("web"), |of_web| of_web.limit = None);
        overrides.edit(None, |default| default.limit = None);
        assert_eq!(overrides, Overrides::default());
    }
}
