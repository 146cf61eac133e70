//! # Imitating VMMs
//!
//! The command lines of real VMMs, with a VM's name and UUID in their real places.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::cli::Options;
use crate::values::Vmm;

/// A VM's name and UUID.
pub struct VmmIdentity {
    pub name: String,
    pub uuid: String,
}

impl VmmIdentity {
    pub fn new(options: &Options, i: u32) -> Self {
        let name = options.vm_name(i);
        let uuid = uuid(&name, i);
        Self { name, uuid }
    }

    /// Runs this program again as that VMM: through a link of the VMM's name, or with its name as
    /// first argument.
    pub fn command(&self, options: &Options) -> Command {
        let program = program(options.vmm);
        let mut command = match program {
            Some(link) if Path::new(link).exists() => Command::new(link),
            _ => Command::new("/proc/self/exe"),
        };
        command.arg0(program.unwrap_or("snpload"));
        let arguments = self.arguments(options.vmm, options.vcpus).into_iter();
        command.args(arguments.map(|text| bytes(text, options.latin1))).args(&options.vmm_args);
        command
    }

    fn arguments(&self, vmm: Option<Vmm>, vcpus: u32) -> Vec<String> {
        let Self { name, uuid } = self;
        match vmm {
            // in libvirt's order
            Some(Vmm::Qemu) => vec![
                "-name".into(),
                format!("guest={name},debug-threads=on"),
                "-machine".into(),
                "q35,accel=kvm,confidential-guest-support=lsec0".into(),
                "-smp".into(),
                vcpus.to_string(),
                "-object".into(),
                "sev-snp-guest,id=lsec0,cbitpos=51,reduced-phys-bits=1".into(),
                "-uuid".into(),
                uuid.clone(),
            ],
            // in the order of Proxmox VE's `qm showcmd`
            Some(Vmm::Kvm) => vec![
                "-id".into(),
                "302".into(),
                "-name".into(),
                name.clone(),
                "-smbios".into(),
                format!("type=1,uuid={uuid}"),
                "-smp".into(),
                vcpus.to_string(),
            ],
            // which has no option for a name
            Some(Vmm::CloudHypervisor) => vec![
                "--api-socket".into(),
                format!("/run/ch/{name}.sock"),
                "--cpus".into(),
                format!("boot={vcpus}"),
                "--platform".into(),
                format!("sev_snp=on,uuid={uuid}"),
            ],
            Some(Vmm::Firecracker) => vec![
                "--id".into(),
                name.clone(),
                "--api-sock".into(),
                format!("/run/firecracker/{name}.socket"),
            ],
            None => vec!["--name".into(), name.clone()],
        }
    }
}

pub fn program(vmm: Option<Vmm>) -> Option<&'static str> {
    match vmm? {
        Vmm::Qemu => Some("/bin/qemu-system-x86_64"),
        Vmm::Kvm => Some("/usr/bin/kvm"),
        Vmm::CloudHypervisor => Some("/bin/cloud-hypervisor"),
        Vmm::Firecracker => Some("/bin/firecracker"),
    }
}

/// As UTF-8 or Latin-1.
fn bytes(text: String, latin1: bool) -> OsString {
    match latin1 {
        false => text.into(),
        true => OsString::from_vec(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()),
    }
}

/// Reproducible, in the form of a random UUID.
fn uuid(name: &str, i: u32) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (name, i, salt).hash(&mut hasher);
        hasher.finish()
    };
    let (high, low) = (half(0), half(1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> VmmIdentity {
        VmmIdentity { name: "web-1".into(), uuid: uuid("web-1", 1) }
    }

    #[test]
    fn qemu_is_named_as_by_libvirt() {
        let words = identity().arguments(Some(Vmm::Qemu), 2);
        assert_eq!(words[..2], ["-name", "guest=web-1,debug-threads=on"]);
        let at = words.iter().position(|word| word == "-uuid").unwrap();
        assert_eq!(words[at + 1], identity().uuid);
    }

    #[test]
    fn other_vmms_are_named_in_their_own_ways() {
        let words = identity().arguments(Some(Vmm::CloudHypervisor), 2);
        assert_eq!(words[..2], ["--api-socket", "/run/ch/web-1.sock"]);
        let words = identity().arguments(Some(Vmm::Kvm), 2);
        assert_eq!(words[3], identity().name);
        assert_eq!(words[5], format!("type=1,uuid={}", identity().uuid));
        let words = identity().arguments(Some(Vmm::Firecracker), 2);
        assert_eq!(words[..2], ["--id", "web-1"]);
    }

    #[test]
    fn a_name_may_not_be_utf_8() {
        assert_eq!(bytes("caf\u{e9}".into(), false), "caf\u{e9}");
        assert_eq!(bytes("caf\u{e9}\u{2026}".into(), true).into_vec(), b"caf\xe9?");
    }

    #[test]
    fn a_uuid_looks_like_one_and_differs_by_vm() {
        let u = uuid("a", 0);
        assert_eq!(u.len(), 36);
        assert_eq!(u.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(u.split('-').nth(2).unwrap().starts_with('4'));
        assert_ne!(u, uuid("a", 1));
    }
}
