//! # Rules for some VMs
//!
//! The `[[vm]]` tables of a file. Of the rules that match a VM, the first one that sets a key
//! wins for that key.

use std::fmt;

use guestreq_common::policy::Mode;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Glob, Limit, Named, Types, refusals};
use crate::host::Identity;

/// A `[[vm]]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(rename = "match")]
    pub matches: Match,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Named<Mode>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Types>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// A rule as somebody writes it now. One that was accepted before is read as a [`Rule`]: what a
/// version allows at least is no reason to forget what an older one has taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    #[serde(rename = "match")]
    matches: Match,
    #[serde(default)]
    mode: Option<Named<Mode>>,
    #[serde(default)]
    allow: Option<Types>,
    #[serde(default)]
    limit: Option<FileLimit>,
}

impl From<FileRule> for Rule {
    fn from(FileRule { matches, mode, allow, limit }: FileRule) -> Rule {
        Rule { matches, mode, allow, limit: limit.map(|limit| limit.0) }
    }
}

/// A limit as somebody writes it now: one that makes guests lose their keys says that it is meant so.
pub struct FileLimit(pub Limit);

impl<'de> Deserialize<'de> for FileLimit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<FileLimit, D::Error> {
        let limit = Limit::deserialize(from)?;
        match refusals::too_slow(limit) {
            Some(why) => Err(de::Error::custom(format!("{why}, or force = true beside the rate"))),
            None => Ok(FileLimit(limit)),
        }
    }
}

/// Patterns that a VM must match, all of them. What is not known of a VM matches none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "Patterns")]
pub struct Match {
    /// Of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Glob>,
    /// Of its UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<Glob>,
    /// Of its pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<Glob>,
    /// Of its pod's UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_uid: Option<Glob>,
    /// Of its VMM's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    vmm: Option<Glob>,
}

/// A [`Match`] that has not been looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patterns {
    name: Option<Glob>,
    uuid: Option<Glob>,
    namespace: Option<Glob>,
    pod_uid: Option<Glob>,
    vmm: Option<Glob>,
}

impl TryFrom<Patterns> for Match {
    type Error = String;

    fn try_from(patterns: Patterns) -> Result<Match, String> {
        let Patterns { name, uuid, namespace, pod_uid, vmm } = patterns;
        let matches = Match { name, uuid, namespace, pod_uid, vmm };
        let empty = matches.patterns().find(|(_, pattern)| pattern.is_empty());
        if let Some((key, _)) = empty {
            return Err(format!("an empty {key} matches no VM"));
        }
        if matches.patterns().next().is_none() {
            return Err("an empty match says nothing: give name, uuid, namespace, pod_uid or vmm \
                        (what holds for all VMs stands at the top level)"
                .to_owned());
        }
        Ok(matches)
    }
}

impl Match {
    fn patterns(&self) -> impl Iterator<Item = (&'static str, &Glob)> {
        let Match { name, uuid, namespace, pod_uid, vmm } = self;
        let all = [
            ("name", name),
            ("uuid", uuid),
            ("namespace", namespace),
            ("pod_uid", pod_uid),
            ("vmm", vmm),
        ];
        all.into_iter().filter_map(|(key, pattern)| Some((key, pattern.as_ref()?)))
    }

    pub fn matches(&self, vm: &Identity) -> bool {
        self.patterns().all(|(key, pattern)| {
            let value = match key {
                // A process' name is not its VM's.
                "name" if !vm.named => "",
                "name" => &vm.name,
                "uuid" => &vm.uuid,
                "namespace" => &vm.namespace,
                "pod_uid" => &vm.pod_uid,
                _ => &vm.vmm,
            };
            !value.is_empty() && pattern.matches(value)
        })
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<_> =
            self.patterns().map(|(key, pattern)| format!("{key} = {pattern}")).collect();
        f.write_str(&patterns.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Match, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn vm(name: &str) -> Identity {
        Identity { name: name.to_owned(), named: true, ..Identity::default() }
    }

    #[test]
    fn all_keys_must_match() {
        let web = read(r#"{"name": "web-*", "vmm": "qemu"}"#).unwrap();
        assert!(web.matches(&Identity { vmm: "qemu".to_owned(), ..vm("web-1") }));
        assert!(!web.matches(&Identity { vmm: "firecracker".to_owned(), ..vm("web-1") }));
        assert!(!web.matches(&Identity { vmm: "qemu".to_owned(), ..vm("db-1") }));
        assert_eq!(web.to_string(), r#"name = "web-*", vmm = "qemu""#);
    }

    #[test]
    fn a_pod_s_vms_match_by_its_namespace_and_uid() {
        let pod = Identity {
            namespace: "prod".to_owned(),
            pod_uid: "1858680e-b044-4fd5-9dd4-f137e30e2180".to_owned(),
            ..vm("web")
        };
        assert!(read(r#"{"namespace": "pro*"}"#).unwrap().matches(&pod));
        assert!(!read(r#"{"namespace": "dev"}"#).unwrap().matches(&pod));
        assert!(read(r#"{"pod_uid": "1858680e-*", "name": "web"}"#).unwrap().matches(&pod));
        assert!(!read(r#"{"namespace": "*"}"#).unwrap().matches(&vm("web")), "in no namespace");
    }

    #[test]
    fn what_is_not_known_of_a_vm_matches_no_pattern() {
        let any_uuid = read(r#"{"uuid": "*"}"#).unwrap();
        assert!(!any_uuid.matches(&vm("web")));
        assert!(any_uuid.matches(&Identity { uuid: "7a".to_owned(), ..vm("web") }));
        let process = Identity { named: false, ..vm("snpload") };
        assert!(!read(r#"{"name": "*"}"#).unwrap().matches(&process), "not a VM's name");
    }

    #[test]
    fn a_match_that_says_nothing_is_an_error() {
        assert!(read("{}").unwrap_err().starts_with("an empty match says nothing"));
        assert!(read(r#"{"name": ""}"#).unwrap_err().starts_with("an empty name matches no VM"));
        let error = read(r#"{"nam": "x"}"#).unwrap_err();
        assert!(error.contains("`name`, `uuid`, `namespace`, `pod_uid`, `vmm`"), "{error}");
    }
}
