//! # A VM's identity

use serde::{Deserialize, Serialize};

/// A VM's identity, as its process shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The VM's name, or the process' name if the command line has none.
    pub name: String,
    /// Whether the name is the VM's own.
    pub named: bool,
    /// From the VMM's command line; empty if not known.
    pub uuid: String,
    /// qemu, cloud-hypervisor, firecracker, or the process' name.
    pub vmm: String,
    /// Its pod's namespace, from a KubeVirt VM's name; else empty.
    pub namespace: String,
    /// Its pod's UID, from its cgroups; else empty.
    pub pod_uid: String,
}

/// The source of one of an identity's fields.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// `name`, `uuid`, `vmm`, `namespace` or `pod_uid`.
    pub field: String,
    /// `argument`; `comm`: the process' name; `exe`: the path of its executable; `cgroup`: a line
    /// of its /proc/PID/cgroup.
    pub from: EvidenceSource,
    /// Its text, at most 256 characters.
    pub text: String,
}

/// A source of identity within /proc/PID.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceSource {
    Argument,
    Comm,
    Exe,
    Cgroup,
}

impl EvidenceSource {
    pub fn name(self) -> &'static str {
        match self {
            EvidenceSource::Argument => "argument",
            EvidenceSource::Comm => "comm",
            EvidenceSource::Exe => "exe",
            EvidenceSource::Cgroup => "cgroup",
        }
    }
}
