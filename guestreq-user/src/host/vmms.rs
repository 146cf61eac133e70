//! # Which program a VMM is
//!
//! By its name's stem: distributions, releases and packagers put something behind it
//! (`qemu-system-x86_64-snp`, `cloud-hypervisor-static`, `firecracker-v1.13.1-x86_64`), Nix'
//! wrappers a dot before it, the kernel ` (deleted)` behind the name of a file that was replaced.
//! A process' own name has 15 bytes, so the stem's beginning has to do there.

/// A VMM whose arguments are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmm {
    Qemu,
    CloudHypervisor,
    Firecracker,
}

/// TASK_COMM_LEN, without the zero at its end.
const COMM: usize = 15;
const DELETED: &str = " (deleted)";

/// Of QEMU's, what runs no VM; the rest of the name may be cut.
const TOOLS: [&str; 9] = [
    "qemu-bridge-helper",
    "qemu-edid",
    "qemu-ga",
    "qemu-img",
    "qemu-io",
    "qemu-keymap",
    "qemu-nbd",
    "qemu-pr-helper",
    "qemu-storage-daemon",
];

impl Vmm {
    /// As a label and a rule know it.
    pub fn name(self) -> &'static str {
        match self {
            Vmm::Qemu => "qemu",
            Vmm::CloudHypervisor => "cloud-hypervisor",
            Vmm::Firecracker => "firecracker",
        }
    }

    /// By the path of a program, or what stands in its place as the first argument.
    pub fn of_program(path: &str) -> Option<Vmm> {
        of_name(base_name(path), false)
    }

    /// By a process' name.
    pub fn of_comm(comm: &str) -> Option<Vmm> {
        of_name(comm, comm.len() >= COMM)
    }
}

fn base_name(path: &str) -> &str {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

fn of_name(name: &str, is_cut: bool) -> Option<Vmm> {
    let name = name.strip_prefix('.').unwrap_or(name);
    let is = |stem: &str| begins(name, stem) || is_cut && stem.starts_with(name);
    if is("cloud-hypervisor") {
        Some(Vmm::CloudHypervisor)
    } else if is("firecracker") {
        Some(Vmm::Firecracker)
    } else if is_qemu(name) {
        Some(Vmm::Qemu)
    } else {
        None
    }
}

/// `qemu-system-x86_64`, `qemu-kvm`, `qemu-lite-system-x86_64`, `kvm`, `kvm-spice`; and
/// `qemu:NAME`, as libvirt has QEMU call its process.
fn is_qemu(name: &str) -> bool {
    let is_tool =
        |tool: &&str| begins(name, tool) || name.len() >= COMM - 1 && tool.starts_with(name);
    let is_its = begins(name, "qemu") || begins(name, "kvm") || name.contains("qemu-system-");
    is_its && !TOOLS.iter().any(is_tool)
}

/// The stem, and nothing or the beginning of another word behind it.
fn begins(name: &str, stem: &str) -> bool {
    let rest = name.strip_prefix(stem);
    rest.is_some_and(|rest| rest.chars().next().is_none_or(|next| !next.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_has_many_names() {
        for name in [
            "/usr/bin/qemu-system-x86_64",
            "/usr/libexec/qemu-kvm",
            "/usr/bin/kvm",
            "/usr/bin/kvm-spice",
            "/usr/bin/qemu-kvm-one",
            "/usr/bin/qemu-system-x86_64-spice",
            "/usr/bin/qemu-lite-system-x86_64",
            "/opt/kata/bin/qemu-system-x86_64-snp-experimental",
            "/opt/kata/bin/qemu-snp-experimental",
            "/opt/qemu-10.1/bin/qemu",
            "/opt/snp-qemu-system-x86_64",
            "./build/qemu-system-x86_64",
            "/nix/store/8f-qemu-10.1/bin/.qemu-system-x86_64-wrapped",
            "/usr/bin/qemu-system-x86_64 (deleted)",
            "/usr/bin/qemu-system-x86_64.dpkg-tmp (deleted)",
            "kvm",
        ] {
            assert_eq!(Vmm::of_program(name), Some(Vmm::Qemu), "{name}");
        }
    }

    #[test]
    fn the_others_have_some_too() {
        for name in [
            "/opt/confidential-containers/bin/cloud-hypervisor-snp",
            "/bin/cloud-hypervisor-static",
            "cloud-hypervisor",
            "/nix/store/8f/bin/.cloud-hypervisor-wrapped",
            "/usr/bin/cloud-hypervisor (deleted)",
        ] {
            assert_eq!(Vmm::of_program(name), Some(Vmm::CloudHypervisor), "{name}");
        }
        for name in ["/firecracker", "firecracker-v1.13.1-x86_64", "./firecracker_debug"] {
            assert_eq!(Vmm::of_program(name), Some(Vmm::Firecracker), "{name}");
        }
    }

    #[test]
    fn a_process_name_has_fifteen_bytes() {
        for (comm, vmm) in [
            ("qemu-system-x86", Vmm::Qemu),
            (".qemu-system-x8", Vmm::Qemu),
            ("qemu-lite-syste", Vmm::Qemu),
            ("qemu:web", Vmm::Qemu),
            ("kvm", Vmm::Qemu),
            ("cloud-hyperviso", Vmm::CloudHypervisor),
            (".cloud-hypervis", Vmm::CloudHypervisor),
            ("firecracker", Vmm::Firecracker),
            ("firecracker-v1.", Vmm::Firecracker),
        ] {
            assert_eq!(Vmm::of_comm(comm), Some(vmm), "{comm}");
        }
        for comm in ["cloud-hypervis", "cloud", "fire", "q", ""] {
            assert_eq!(Vmm::of_comm(comm), None, "{comm} is not cut");
        }
        assert_eq!(Vmm::of_program("/bin/cloud-hyperviso"), None, "nor is a path");
    }

    #[test]
    fn what_only_begins_like_a_vmm_is_none() {
        for name in [
            "/usr/bin/qemu-img",
            "/usr/bin/qemu-nbd",
            "/usr/bin/qemu-storage-daemon",
            "/usr/bin/kvmtool",
            "/usr/sbin/virtqemud",
            "/usr/bin/qemud",
            "/usr/bin/cloud-hypervisord",
            "/usr/bin/firecrackers",
            "/usr/bin/cloud-init",
            "/usr/bin/numactl",
            "/bin/bash",
            "",
            "/",
            " (deleted)",
        ] {
            assert_eq!(Vmm::of_program(name), None, "{name}");
        }
        assert_eq!(Vmm::of_comm("qemu-storage-da"), None);
        assert_eq!(Vmm::of_comm("qemu-bridge-hel"), None);
    }
}
