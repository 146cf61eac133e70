//! # VMMs' command lines

use super::{Identity, clean, exact};

/// File names of API sockets that say nothing about the VM; the folder does.
const GENERIC_SOCKETS: [&str; 6] = ["api", "ch", "ch-api", "clh", "clh-api", "cloud-hypervisor"];
/// And folders.
const GENERIC_FOLDERS: [&str; 3] = ["run", "tmp", ""];

/// Reads a VM's identity off the arguments its VMM was started with.
pub fn parse(arguments: &[String], comm: &str) -> Identity {
    let program = arguments.first().map_or("", |path| base_name(path));
    let (vmm, name, uuid) = if program.starts_with("qemu-system-") || program == "qemu-kvm" {
        let name = option(arguments, "-name").and_then(qemu_name);
        ("qemu", name, option(arguments, "-uuid").map(str::to_owned))
    } else if program == "cloud-hypervisor" {
        let name = option(arguments, "--api-socket").and_then(cloud_hypervisor_name);
        let platform = option(arguments, "--platform");
        ("cloud-hypervisor", name, platform.and_then(|value| key(value, "uuid")))
    } else if program == "firecracker" {
        ("firecracker", option(arguments, "--id").map(str::to_owned), None)
    } else {
        (comm, None, None)
    };
    let name = name.filter(|name| !name.is_empty());
    Identity {
        named: name.is_some(),
        name: name.map_or_else(|| comm.to_owned(), |name| exact(&name)),
        uuid: uuid.map(|uuid| clean(&uuid)).unwrap_or_default(),
        vmm: vmm.to_owned(),
        ..Identity::default()
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The value of an option, given as `--option value` or `--option=value`. The last one counts.
fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let mut value = None;
    for (i, argument) in arguments.iter().enumerate() {
        // QEMU takes its options with one dash or two.
        let argument = if name.starts_with("--") {
            argument.as_str()
        } else {
            argument.strip_prefix('-').filter(|rest| rest.starts_with('-')).unwrap_or(argument)
        };
        if argument == name {
            value = arguments.get(i + 1).map(String::as_str).or(value);
        } else if let Some(rest) = argument.strip_prefix(name)
            && let Some(inline) = rest.strip_prefix('=')
        {
            value = Some(inline);
        }
    }
    value
}

/// `-name NAME[,…]` or `-name guest=NAME[,…]`; a comma in a name is written twice.
fn qemu_name(value: &str) -> Option<String> {
    let parts = qemu_parts(value);
    let guest = parts.iter().find_map(|part| part.strip_prefix("guest="));
    let plain = || parts.first().filter(|part| !part.contains('=')).map(String::as_str);
    guest.or_else(plain).map(str::to_owned)
}

/// Splits at single commas and turns double ones into one.
fn qemu_parts(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = value.chars().peekable();
    while let Some(c) = characters.next() {
        if c == ',' && characters.peek() != Some(&',') {
            parts.push(String::new());
            continue;
        }
        if c == ',' {
            characters.next();
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// `key=value` in a comma-separated list.
fn key(list: &str, name: &str) -> Option<String> {
    list.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// cloud-hypervisor has no name for its VM; its API socket's path has.
fn cloud_hypervisor_name(value: &str) -> Option<String> {
    let path = key(value, "path").unwrap_or_else(|| value.to_owned());
    let mut folders = path.rsplit('/');
    let file = folders.next()?;
    let stem = file.strip_suffix(".sock").or_else(|| file.strip_suffix(".socket")).unwrap_or(file);
    let stem = stem.strip_suffix("-socket").unwrap_or(stem);
    if GENERIC_SOCKETS.contains(&stem) {
        folders.next().filter(|folder| !GENERIC_FOLDERS.contains(folder)).map(str::to_owned)
    } else {
        Some(stem.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identify(line: &str) -> Identity {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&arguments, "comm")
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
    }

    #[test]
    fn qemu_by_hand() {
        assert_eq!(identify("qemu-system-x86_64 -name web").name, "web");
        assert_eq!(identify("qemu-system-x86_64 --name web,process=x").name, "web");
        assert_eq!(identify("qemu-kvm -name debug-threads=on,guest=a,,b").name, "a,b");
        let nameless = identify("qemu-system-x86_64 -m 1G");
        assert_eq!((nameless.name.as_str(), nameless.named), ("comm", false));
        assert!(!identify("qemu-system-x86_64 -name").named);
        assert!(!identify("qemu-system-x86_64 -name debug-threads=on").named);
    }

    #[test]
    fn cloud_hypervisor_by_its_socket() {
        // cloud-hypervisor's own documentation, libvirt's ch driver and Kata's.
        let name = |line: &str| identify(line).name;
        assert_eq!(name("cloud-hypervisor --api-socket /tmp/web.sock"), "web");
        assert_eq!(name("cloud-hypervisor --api-socket path=/tmp/web.sock"), "web");
        assert_eq!(name("cloud-hypervisor --api-socket /run/libvirt/ch/web-socket"), "web");
        assert_eq!(name("cloud-hypervisor --api-socket /run/vc/vm/3f2a/clh-api.sock"), "3f2a");
        assert_eq!(name("cloud-hypervisor --api-socket /run/kata/3f2a/ch-api.sock"), "3f2a");
        assert!(!identify("cloud-hypervisor --api-socket /tmp/ch-api.sock").named);
        let with_uuid = identify("cloud-hypervisor --platform num_pci_segments=1,uuid=7a");
        assert_eq!((with_uuid.uuid.as_str(), with_uuid.named), ("7a", false));
    }

    #[test]
    fn firecracker_by_its_id() {
        assert_eq!(identify("/jail/firecracker --id vm-7 --api-sock x").name, "vm-7");
        assert_eq!(identify("firecracker --id=vm-8").name, "vm-8");
    }

    /// Two of them are never one.
    #[test]
    fn a_name_is_known_exactly_whatever_it_is() {
        let arguments =
            |name: &str| ["qemu-system-x86_64", "-name", name].map(str::to_owned).to_vec();
        for name in ["a\"b\nc", "a\u{1b}[31m", &"x".repeat(4096)] {
            assert_eq!(parse(&arguments(name), "comm").name, name);
        }
        assert_eq!(parse(&arguments(&"x".repeat(5000)), "comm").name.len(), 4096);
    }

    #[test]
    fn a_stranger_is_named_after_its_process() {
        let identity = identify("/usr/local/bin/my-vmm --id 7");
        assert_eq!((identity.name.as_str(), identity.vmm.as_str()), ("comm", "comm"));
    }

    proptest! {
        #[test]
        fn no_command_line_makes_it_panic(arguments: Vec<String>) {
            for program in ["qemu-system-x86_64", "cloud-hypervisor", "firecracker"] {
                let mut line = vec![program.to_owned()];
                line.extend(arguments.iter().cloned());
                for option in ["-name", "--api-socket", "--id"] {
                    line.push(option.to_owned());
                    let identity = parse(&line, "comm");
                    prop_assert!(identity.name.chars().count() <= super::super::MAX_NAME);
                }
            }
        }
    }
}
