//! # Which VM a process is

use serde::{Deserialize, Serialize};

/// A VM's name, and what else its VMM says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The VM's own name, as it is, or the process' name where the command line has none.
    pub name: String,
    /// Whether the name is the VM's own.
    pub named: bool,
    /// As its VMM was told; empty where it is not known.
    pub uuid: String,
    /// qemu, cloud-hypervisor, firecracker, or the process' name.
    pub vmm: String,
    /// Its pod's, where the VM's name tells: KubeVirt's does; else empty.
    pub namespace: String,
    /// Of the pod that it runs in, where its cgroups tell; else empty.
    pub pod_uid: String,
}

/// A part of what is known of a VM, and what of its process tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// `name`, `uuid`, `vmm`, `namespace` or `pod_uid`.
    pub field: String,
    /// `argument`; `comm`: the process' name; `exe`: its program's file; `cgroup`: a line of its
    /// control groups.
    pub from: EvidenceSource,
    /// What stands there, its first 256 characters at most.
    pub text: String,
}

/// Where of a process something stands.
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
