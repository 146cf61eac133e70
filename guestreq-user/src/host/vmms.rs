//! # Identifying VMM programs
//!
//! By the name's stem: distributions, releases and packagers add prefixes and suffixes (`snp-qemu`,
//! `qemu-system-x86_64-snp`, `cloud-hypervisor-static`, `firecracker-v1.13.1-x86_64`), Nix'
//! wrappers a leading dot, the kernel ` (deleted)` for a replaced file. A process' name has only 15
//! bytes, so there the stem's beginning suffices. [`others`] lists programs with the stem that are
//! no VMMs.

mod others;

use others::{is_interpreter, is_other};

/// A VMM whose arguments are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmm {
    Qemu,
    CloudHypervisor,
    Firecracker,
}

/// The kind of program, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Vmm(Vmm),
    /// Known, and no VMM.
    Other,
    Unknown,
}

/// TASK_COMM_LEN, without the zero at its end.
const COMM: usize = 15;
const DELETED: &str = " (deleted)";

impl Vmm {
    /// The name in labels and rules.
    pub fn name(self) -> &'static str {
        match self {
            Vmm::Qemu => "qemu",
            Vmm::CloudHypervisor => "cloud-hypervisor",
            Vmm::Firecracker => "firecracker",
        }
    }

    /// Whether that is a VMM's name, and not a process'.
    pub fn is_one(name: &str) -> bool {
        [Vmm::Qemu, Vmm::CloudHypervisor, Vmm::Firecracker].iter().any(|vmm| vmm.name() == name)
    }

    /// By a program's path, or the first argument.
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
    /// By its path, or the first argument.
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
    // `qemu-lite-system-x86_64`, `kvm-spice`; and `qemu:NAME`, as libvirt has QEMU call its
    // process.
    } else if has(name, "qemu") || begins(name, "kvm") {
        Some(Vmm::Qemu)
    } else {
        None
    }
}

/// The stem, followed by nothing, a version number or another word.
fn begins(name: &str, stem: &str) -> bool {
    let rest = name.strip_prefix(stem);
    rest.is_some_and(|rest| rest.chars().next().is_none_or(|next| !next.is_alphabetic()))
}

/// The stem, optionally after other words.
fn has(name: &str, stem: &str) -> bool {
    let name = program(name);
    name.match_indices(stem)
        .any(|(at, _)| !name[..at].ends_with(char::is_alphanumeric) && begins(&name[at..], stem))
}

/// The part of a process' name or title that may be a program's: not the rest of `qemu:web-server`
/// or `postgres: qemu nova`.
fn program(name: &str) -> &str {
    let is_in_words = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.find(|c| !is_in_words(c)).map_or(name, |end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vmm_names_are_those_of_rules_not_of_programs() {
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
    fn so_have_the_others() {
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
    fn names_that_only_begin_like_a_vmm_are_none() {
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
