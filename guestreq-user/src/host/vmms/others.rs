//! # Programs named like VMMs that are none
//!
//! QEMU's tools and user-mode emulators (`qemu-aarch64-static`), managers of VMMs
//! (`firecracker-containerd`), KVM's kernel threads, and interpreters, whose processes have their
//! scripts' names.

use super::{begins, program};

/// By name, kernel threads included.
const OTHERS: &str = "\
    kvm-irqfd-cleanup kvm-nx-lpage-recovery kvm-ok kvm-pit kvm_stat qemu-bridge-helper qemu-edid \
    qemu-ga qemu-img qemu-io qemu-keymap qemu-nbd qemu-pr-helper qemu-storage-daemon \
    qemu-trace-stap qemu-vmsr-helper qemu-vnc";

/// Words in the names of tools for VMs.
const WORDS: &str = "\
    agent binfmt cli client containerd control controller csi ctl ctr daemon driver exporter \
    helper launcher manager operator plugin provider proxy run runner server service shim task";
/// How many characters of a cut word identify it.
const LEAST: usize = 3;

/// QEMU's user-mode emulators: `qemu-TARGET` (configs/targets/*-linux-user.mak), and as Debian and
/// others name them.
const TARGETS: &str = "\
    aarch64 aarch64_be alpha arm armeb cris hexagon hppa i386 loongarch64 m68k microblaze \
    microblazeel mips mips64 mips64el mipsel mipsn32 mipsn32el nios2 or1k or32 ppc ppc64 \
    ppc64abi32 ppc64le riscv32 riscv64 s390x sh4 sh4eb sparc sparc32plus sparc64 tilegx \
    unicore32 user x86_64 xtensa xtensaeb amd64 arm64 armhf ppc64el";

/// Interpreters, with or without a version suffix.
const INTERPRETERS: &str =
    "ash bash busybox dash fish ksh lua node nodejs perl php python ruby sh zsh";

/// Whether a program with a VMM's stem is none.
pub fn is_other(name: &str, is_cut: bool) -> bool {
    let (name, whole) = (program(name), name);
    let is_cut = is_cut && name == whole;
    let is_cut_off = |other: &str| is_cut && other.starts_with(name);
    let is_known = OTHERS.split(' ').any(|other| begins(name, other) || is_cut_off(other));
    is_known || emulates_programs(name, is_cut) || has_a_word(name, is_cut)
}

fn emulates_programs(name: &str, is_cut: bool) -> bool {
    let Some(target) = name.strip_prefix("qemu-") else { return false };
    let of = |known: &str| {
        let rest = target.strip_prefix(known);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
            || is_cut && known.starts_with(target)
    };
    TARGETS.split(' ').any(of)
}

fn has_a_word(name: &str, is_cut: bool) -> bool {
    let mut words = name.split(|c: char| !c.is_alphanumeric()).peekable();
    while let Some(word) = words.next() {
        let is_last = words.peek().is_none();
        let is = |known: &str| {
            word == known || is_cut && is_last && word.len() >= LEAST && known.starts_with(word)
        };
        if WORDS.split(' ').any(is) {
            return true;
        }
    }
    false
}

/// `bash`, `-bash`, `python3.12`.
pub fn is_interpreter(name: &str) -> bool {
    let name = name.strip_prefix('-').unwrap_or(name);
    let version = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    INTERPRETERS.split(' ').any(|known| name.strip_prefix(known).is_some_and(version))
}

#[cfg(test)]
mod tests {
    use crate::host::vmms::{Program, Vmm};

    #[test]
    fn programs_named_like_vmms_are_recognized() {
        for name in [
            "/usr/bin/qemu-img",
            "/usr/bin/qemu-storage-daemon",
            "/usr/libexec/qemu-vmsr-helper",
            "/usr/bin/qemu-guest-agent",
            "/usr/bin/qemu-x86_64-static",
            "/usr/bin/qemu-aarch64",
            "/usr/bin/qemu-aarch64_be",
            "/usr/bin/qemu-x86_64-binfmt-P",
            "/usr/bin/qemu-aarch64-static (deleted)",
            "/usr/bin/virt-qemu-run",
            "/usr/bin/kvm-ok",
            "/usr/bin/kvm_stat",
            "/usr/bin/firecracker-containerd",
            "/usr/bin/containerd-shim-aws-firecracker",
            "/opt/nomad/plugins/firecracker-task-driver",
            "/usr/bin/cloud-hypervisor-provider",
            "/bin/bash",
            "-bash",
            "/usr/bin/python3.12",
            "/bin/busybox",
        ] {
            assert_eq!(Program::of_path(name), Program::Other, "{name}");
        }
        for name in ["/usr/bin/numactl", "/usr/bin/bashful", "/usr/bin/kvmtool", "web"] {
            assert_eq!(Program::of_path(name), Program::Unknown, "{name}");
        }
    }

    #[test]
    fn so_are_they_by_fifteen_bytes() {
        for comm in [
            "qemu-storage-da",
            "qemu-bridge-hel",
            "qemu-pr-helper",
            "qemu-x86_64-sta",
            "qemu-loongarch6",
            "qemu-sparc32plu",
            "firecracker-con",
            "firecracker-ctr",
            "firecracker-tas",
            "kvm-pit/2211",
            "kvm-nx-lpage-re",
            "kvm-irqfd-clean",
            "kvm_stat",
        ] {
            assert_eq!(Vmm::of_comm(comm), None, "{comm}");
        }
    }
}
