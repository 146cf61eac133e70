//! # Paths of cgroups
//!
//! Managers of VMs name folders as they like: after the VM, its owner, or parts of both that are
//! shortened and escaped. So only what is known to be none of these is kept.

use super::forms;

/// Folders of systemd, kubelet and libvirt.
const KEPT: [&str; 11] = [
    "..",
    "besteffort",
    "burstable",
    "emulator",
    "init.scope",
    "libvirt",
    "machine",
    "machine.slice",
    "system.slice",
    "user.slice",
    "user",
];
/// What container runtimes put before a container's id.
const RUNTIMES: [&str; 5] = ["", "cri-containerd-", "crio-", "docker-", "libpod-"];
/// libvirt's drivers, in the names of its scopes: `machine-DRIVER\x2dNUMBER\x2dNAME.scope`.
const DRIVERS: [&str; 3] = ["ch", "lxc", "qemu"];
const DASH: &str = "\\x2d";

/// A line of /proc/PID/cgroup. `own` stands for the VM's name, `shown` replaces UUIDs.
pub fn line(text: &str, own: &str, shown: impl Fn(&str) -> String) -> String {
    let begin = text.match_indices(':').nth(1).map_or(0, |(at, _)| at + 1);
    let (hierarchy, path) = text.split_at(begin);
    let parts = path.split('/').map(|part| folder(part, own, &shown));
    hierarchy.to_owned() + &parts.collect::<Vec<_>>().join("/")
}

fn folder(part: &str, own: &str, shown: impl Fn(&str) -> String) -> String {
    let numbered = |begin: &str| part.strip_prefix(begin).is_some_and(is_number);
    let id = part.strip_suffix(".scope").unwrap_or(part);
    let is_container = RUNTIMES.iter().any(|of| id.strip_prefix(of).is_some_and(is_id));
    if part.is_empty() || KEPT.contains(&part) || is_container {
        return part.to_owned();
    }
    if numbered("vcpu") || numbered("iothread") {
        return part.to_owned();
    }
    let is_pod = part.starts_with("kubepods") || part.starts_with("pod");
    if is_pod && is_pod_name(part) || forms::is_uuid(part.as_bytes()) {
        return shown(part);
    }
    let end = [".scope", ".service", ".slice"].iter().find(|end| part.ends_with(**end));
    let end = end.map_or("", |end| end);
    match machine(part) {
        Some((driver, number)) => format!("machine-{driver}{DASH}{number}{DASH}{own}{end}"),
        None => format!("\u{2026}{end}"),
    }
}

fn machine(part: &str) -> Option<(&str, &str)> {
    let (driver, rest) = part.strip_prefix("machine-")?.split_once(DASH)?;
    let (number, _) = rest.split_once(DASH)?;
    (DRIVERS.contains(&driver) && is_number(number)).then_some((driver, number))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `kubepods-burstable-podUID.slice`, with kubelet's words and a UID that is a UUID.
fn is_pod_name(part: &str) -> bool {
    const WORDS: [&str; 5] = ["kubepods", "besteffort", "burstable", "guaranteed", "pod"];
    let part = part.strip_suffix(".slice").unwrap_or(part).replace('_', "-");
    let (words, uid) = match part.len().checked_sub(36).and_then(|at| part.split_at_checked(at)) {
        Some((words, uid)) if forms::is_uuid(uid.as_bytes()) => (words.to_owned(), true),
        _ => (part.clone(), false),
    };
    (uid || !words.ends_with("pod")) && words.split('-').all(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7a1b2c3d7a1b2c3d7a1b2c3d7a1b2c3d7a1b2c3d7a1b2c3d7a1b2c3d7a1b2c3d";

    fn shown(text: &str) -> String {
        line(text, "vm7", |uuid| uuid.replace("7a1b2c3d", "00000000"))
    }

    #[test]
    fn a_scope_has_its_own_vm_s_pseudonym() {
        for driver in DRIVERS {
            let scope = format!("machine-{driver}\\x2d12\\x2dmyweb\\x2d1.scope/libvirt/vcpu3");
            let expected = format!("machine-{driver}\\x2d12\\x2dvm7.scope/libvirt/vcpu3");
            let of = |scope| format!("0::/machine.slice/{scope}");
            assert_eq!(shown(&of(scope)), of(expected));
        }
    }

    #[test]
    fn folders_of_managers_are_left_out() {
        for (text, expected) in [
            ("0::/system.slice/vm@acme-web.service", "0::/system.slice/\u{2026}.service"),
            (
                "1:name=systemd:/acme.slice/web.scope",
                "1:name=systemd:/\u{2026}.slice/\u{2026}.scope",
            ),
            (
                "0::/machine.slice/machine-acme\\x2d1\\x2dweb.scope",
                "0::/machine.slice/\u{2026}.scope",
            ),
            ("4:misc:/vms/acme", "4:misc:/\u{2026}/\u{2026}"),
            ("0::/kubepods-acme.slice/pod-acme", "0::/\u{2026}.slice/\u{2026}"),
            ("acme", "\u{2026}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn pods_and_containers_are_kept() {
        let pod = "kubepods-besteffort-pod7a1b2c3d_0000_1111_2222_93bd94900001.slice";
        let text = format!("0::/kubepods.slice/kubepods-besteffort.slice/{pod}/crio-{ID}.scope");
        assert_eq!(shown(&text), text.replace("pod7a1b2c3d", "pod00000000"));
        let text = format!("0::/kubepods/burstable/pod7a1b2c3d-0000-1111-2222-93bd94900001/{ID}");
        assert_eq!(shown(&text), text.replace("pod7a1b2c3d", "pod00000000"));
    }
}
