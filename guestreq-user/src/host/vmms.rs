//! # Which program a VMM is
//!
//! By its name's stem: distributions, releases and packagers put something before or behind it
//! (`snp-qemu`, `qemu-system-x86_64-snp`, `cloud-hypervisor-static`, `firecracker-v1.13.1-x86_64`),
//! Nix' wrappers a dot before it, the kernel ` (deleted)` behind the name of a file that was
//! replaced. A process' own name has 15 bytes, so the stem's beginning has to do there. What has
//! the stem and is something else ([`others`]) is none.

mod others;

use others::{is_interpreter, is_other};

/// A VMM whose arguments are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmm {
    Qemu,
    CloudHypervisor,
    Firecracker,
}

/// What the name of a program tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Vmm(Vmm),
    /// It is known, and runs no VM.
    Other,
    Unknown,
}

/// TASK_COMM_LEN, without the zero at its end.
const COMM: usize = 15;
const DELETED: &str = " (deleted)";

impl Vmm {
    /// As a label and a rule know it.
    pub fn name(self) -> &'static str {
        match self {
            Vmm::Qemu => "qemu",
            Vmm::CloudHypervisor => "cloud-hypervisor",
            Vmm::Firecracker => "firecracker",
        }
    }

    /// Whether that is the name of one, and not of a process.
    pub fn is_one(name: &str) -> bool {
        [Vmm::Qemu, Vmm::CloudHypervisor, Vmm::Firecracker].iter().any(|vmm| vmm.name() == name)
    }

    /// By the path of a program, or what stands in its place as the first argument.
    pub fn of_program(path: &str) -> Option<Vmm> {
        match Program::of_path(path) {
            Program::Vmm(vmm) => Some(vmm),
            Program::Other | Program::Unknown => None,
        }
    }

    /// By a process' name.
    pub fn of_comm(comm: &str) -> Option<Vmm> {
        let is_cut = comm.len() >= COMM;
        let name = comm.strip_prefix('.').unwrap_or(comm);
        of_name(name, is_cut).filter(|_| !is_other(name, is_cut))
    }
}

impl Program {
    /// By its path, or what stands in its place as the first argument.
    pub fn of_path(path: &str) -> Program {
        let name = base_name(path);
        let name = name.strip_prefix('.').unwrap_or(name);
        match of_name(name, false) {
            Some(_) if is_other(name, false) => Program::Other,
            Some(vmm) => Program::Vmm(vmm),
            None if is_interpreter(name) => Program::Other,
            None => Program::Unknown,
        }
    }
}

fn base_name(path: &str) -> &str {
    let path = path.strip_suffix(DELETED).unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

fn of_name(name: &str, is_cut: bool) -> Option<Vmm> {
    let is = |stem: &str| has(name, stem) || is_cut && stem.starts_with(name);
    if is("cloud-hypervisor") || is("cloud_hypervisor") || is("cloudhypervisor") {
        Some(Vmm::CloudHypervisor)
    } else if is("firecracker") {
        Some(Vmm::Firecracker)
    // `qemu-lite-system-x86_64`, `kvm-spice`; and `qemu:NAME`, as libvirt has QEMU call its process.
    } else if has(name, "qemu") || begins(name, "kvm") {
        Some(Vmm::Qemu)
    } else {
        None
    }
}

/// The stem, and nothing, a version's number or the beginning of another word behind it.
fn begins(name: &str, stem: &str) -> bool {
    let rest = name.strip_prefix(stem);
    rest.is_some_and(|rest| rest.chars().next().is_none_or(|next| !next.is_alphabetic()))
}

/// The stem, and other words before it or none.
fn has(name: &str, stem: &str) -> bool {
    let name = program(name);
    name.match_indices(stem)
        .any(|(at, _)| !name[..at].ends_with(char::is_alphanumeric) && begins(&name[at..], stem))
}

/// What of a process' name or title may be a program's: not the rest of `qemu:web-server` and of
/// `postgres: qemu nova`.
fn program(name: &str) -> &str {
    let is_in_words = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.find(|c| !is_in_words(c)).map_or(name, |end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vmm_is_called_as_rules_call_it_and_a_program_otherwise() {
        assert!(["qemu", "cloud-hypervisor", "firecracker"].into_iter().all(Vmm::is_one));
        assert!(!["qemu-kvm", "QEMU", "bash", ""].into_iter().any(Vmm::is_one));
    }

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
            "/usr/bin/qemu-system-x86_64;67ab1234",
            "/opt/bin/snp-qemu",
            "/opt/bin/qemu10",
            "/opt/bin/amdsev-qemu-kvm",
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
            "/opt/snp-cloud-hypervisor",
            "/opt/cloudhypervisor",
        ] {
            assert_eq!(Vmm::of_program(name), Some(Vmm::CloudHypervisor), "{name}");
        }
        for name in
            ["/firecracker", "firecracker-v1.13.1-x86_64", "./firecracker_debug", "firecracker1"]
        {
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
            ("qemu:web-server", Vmm::Qemu),
            ("qemu-kvm -daemo", Vmm::Qemu),
            ("qemu-snp-experi", Vmm::Qemu),
            ("firecracker-sta", Vmm::Firecracker),
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
            "postgres: qemu nova",
            "/bin/bash",
            "",
            "/",
            " (deleted)",
        ] {
            assert_eq!(Vmm::of_program(name), None, "{name}");
        }
    }
}
