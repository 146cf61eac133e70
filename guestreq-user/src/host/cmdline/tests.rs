use proptest::prelude::*;

use super::*;
use crate::host::MAX_NAME;

fn of(arguments: &[&str], comm: &str, exe: Option<&str>) -> Identified {
    let line: String = arguments.iter().map(|one| format!("{one}\0")).collect();
    parse(line.as_bytes(), comm, exe).unwrap()
}

fn identify(line: &str) -> Identity {
    of(&line.split(' ').collect::<Vec<_>>(), "comm", None).identity
}

#[test]
fn qemu_as_libvirt_starts_it() {
    // libvirt's qemuBuildNameCommandLine and qemuBuildCommandLine.
    let identity = identify(
        "/usr/bin/qemu-system-x86_64 -name guest=web-1,debug-threads=on -S \
         -uuid 6f9d1a4e-0000-4000-8000-000000000001 -display none",
    );
    assert_eq!(identity.name, "web-1");
    assert!(identity.named);
    assert_eq!(identity.uuid, "6f9d1a4e-0000-4000-8000-000000000001");
    assert_eq!(identity.vmm, "qemu");
    let nameless = identify("qemu-system-x86_64 -m 1G");
    assert_eq!((nameless.name.as_str(), nameless.named), ("comm", false));
    assert!(!identify("qemu-system-x86_64 -name guest=").named);
}

#[test]
fn firecracker_by_its_id() {
    assert_eq!(identify("/jail/firecracker --id vm-7 --api-sock x").name, "vm-7");
    assert_eq!(identify("firecracker --id=vm-8").name, "vm-8");
    assert!(!identify("firecracker --id anonymous-instance").named, "what all are called");
    assert!(!identify("firecracker --ids vm-7").named);
    assert!(!identify("firecracker --api-sock x -- --id vm-7").named, "not its own");
}

/// Different names stay different.
#[test]
fn names_are_read_exactly() {
    let name = |name: &str| of(&["qemu-kvm", "-name", name], "comm", None).identity.name;
    for exact in ["a\"b\nc", "a\u{1b}[31m", &"x".repeat(4096)] {
        assert_eq!(name(exact), exact);
    }
    assert_eq!(name(&"x".repeat(4097)).len(), 4096);
}

#[test]
fn an_unknown_program_is_named_after_its_process() {
    let identity = identify("/usr/local/bin/my-vmm --id 7");
    assert_eq!((identity.name.as_str(), identity.vmm.as_str()), ("comm", "comm"));
    let gone = of(&[], "comm", None).identity;
    assert_eq!((gone.name.as_str(), gone.named), ("comm", false));
}

/// Programs that start VMMs, or wait for them, are not VMMs.
#[test]
fn a_wrapper_is_not_what_it_starts() {
    for wrapper in [
        &["bash", "-c", "qemu-system-x86_64 -name web"][..],
        &["numactl", "--membind=0", "qemu-system-x86_64", "-name", "web"],
        &["setpriv", "--reuid=1000", "/usr/bin/kvm", "-name", "web"],
    ] {
        let identity = of(wrapper, wrapper[0], Some(&format!("/usr/bin/{}", wrapper[0]))).identity;
        assert_eq!((identity.name.as_str(), identity.named), (wrapper[0], false));
    }
}

#[test]
fn a_vmm_is_identified_by_file_then_first_argument_then_name() {
    let vmm = |first: &str, comm: &str, exe| {
        let Identified { identity, evidence } = of(&[first, "-name", "web"], comm, exe);
        let Evidence { field, from, text } = evidence[0].clone();
        assert_eq!(field, "vmm");
        (identity.vmm, from, text)
    };
    let is = |vmm: &str, from, text: &str| (vmm.to_owned(), from, text.to_owned());
    let firecracker = Some("/usr/bin/firecracker (deleted)");
    assert_eq!(
        vmm("qemu-kvm", "kvm", firecracker),
        is("firecracker", EvidenceSource::Exe, "/usr/bin/firecracker (deleted)")
    );
    let strange = Some("/opt/run");
    assert_eq!(
        vmm("cloud-hypervisor", "kvm", strange),
        is("cloud-hypervisor", EvidenceSource::Argument, "cloud-hypervisor")
    );
    assert_eq!(
        vmm("microvm@web", "qemu-system-x86", None),
        is("qemu", EvidenceSource::Comm, "qemu-system-x86")
    );
    assert_eq!(vmm("x", "my-vmm", strange), is("my-vmm", EvidenceSource::Comm, "my-vmm"));
}

#[test]
fn microvm_nix_gives_the_name_if_the_vmm_has_none() {
    let name = |arguments: &[&str], comm: &str| {
        let Identified { identity, evidence } = of(arguments, comm, None);
        identity.named.then(|| (identity.name, evidence[1].text.clone()))
    };
    let both = |name: &str, text: &str| Some((name.to_owned(), text.to_owned()));
    assert_eq!(
        name(&["microvm@web", "--kernel", "x"], "cloud-hyperviso"),
        both("web", "microvm@web")
    );
    let own = name(&["microvm@web", "--id", "db"], "firecracker");
    assert_eq!(own, both("db", "--id db"), "its own goes first");
    assert_eq!(name(&["microvm@", "--kernel", "x"], "cloud-hyperviso"), None);
    assert_eq!(name(&["microvm@web"], "stranger"), None);
}

#[test]
fn the_evidence_is_the_argument() {
    let Identified { evidence, .. } = of(
        &["/usr/bin/kvm", "-id", "302", "-name", "web", "-smbios", "type=1,uuid=7a"],
        "kvm",
        None,
    );
    let evidence: Vec<_> =
        evidence.iter().map(|it| (it.field.as_str(), it.from.name(), it.text.as_str())).collect();
    assert_eq!(
        evidence,
        [
            ("vmm", "argument", "/usr/bin/kvm"),
            ("name", "argument", "-name web"),
            ("uuid", "argument", "-smbios type=1,uuid=7a"),
        ]
    );
    let Identified { evidence, .. } = of(&["qemu-kvm"], "qemu-kvm", None);
    assert_eq!(evidence[1], Evidence::new("name", EvidenceSource::Comm, "qemu-kvm"));
}

proptest! {
    #[test]
    fn no_command_line_makes_it_panic(arguments: Vec<String>) {
        for program in ["qemu-system-x86_64", "cloud-hypervisor", "firecracker"] {
            let mut line = vec![program];
            line.extend(arguments.iter().map(String::as_str));
            for option in ["-name", "-smbios", "--api-socket", "--event-monitor", "--id"] {
                line.push(option);
                let identity = of(&line, "comm", None).identity;
                prop_assert!(identity.name.chars().count() <= MAX_NAME);
            }
        }
    }
}
