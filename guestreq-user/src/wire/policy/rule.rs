//! # Rules: the `[[vm]]` tables of a file

use std::fmt;

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{Glob, Limit, Named, Types, Weight};

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
}

/// Patterns, all of which must match. A property that is not known matches none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "Patterns")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Match {
    /// Pattern for the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Glob>,
    /// Pattern for the UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<Glob>,
    /// Pattern for the pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<Glob>,
    /// Pattern for the pod's UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_uid: Option<Glob>,
    /// Pattern for the VMM.
    #[serde(skip_serializing_if = "Option::is_none")]
    vmm: Option<Glob>,
}

/// An unchecked [`Match`]. The comments become descriptions in the JSON Schema and rows in
/// docs/policy.md.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of patterns, such as { name = \"web-*\" }")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("minProperties" = 1)))]
struct Patterns {
    /// VMs of QEMU and Firecracker that have one; of cloud-hypervisor by [its
    /// sockets](policy.md#how-a-vm-gets-its-name); of KubeVirt the VMI's name, alone or as
    /// `NAMESPACE/NAME`; of Kata the sandbox's id (`sandbox-ID` with QEMU)
    name: Option<Glob>,
    /// QEMU (`-uuid`, `-smbios type=1,uuid=`) and cloud-hypervisor (`--platform uuid=`), in upper or
    /// lower case
    uuid: Option<Glob>,
    /// KubeVirt's VMs. Kata's VMMs do not have it: match `pod_uid` or `name`
    namespace: Option<Glob>,
    /// Everything in a pod, from its cgroup's name; the outermost pod's, in upper or lower case
    pod_uid: Option<Glob>,
    /// `qemu` whatever its program is called: `qemu-system-x86_64`, `qemu-kvm`, `/usr/bin/kvm`, your
    /// own build; the same for `cloud-hypervisor` and `firecracker`; of another VMM its process'
    /// name
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
            return Err(
                "an empty match says nothing: give name, uuid, namespace, pod_uid or vmm (settings for \
                        all VMs belong at the top level)"
                    .to_owned(),
            );
        }
        Ok(matches)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<_> =
            self.patterns().map(|(key, pattern)| format!("{key} = {pattern}")).collect();
        f.write_str(&patterns.join(", "))
    }
}

impl Match {
    /// Its patterns with their keys.
    pub fn patterns(&self) -> impl Iterator<Item = (&'static str, &Glob)> {
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
}
