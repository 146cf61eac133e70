//! # The pod that a process is in
//!
//! Told by its control groups' names alone, so that no API server has to be asked: kubelet puts a
//! pod's UID into its cgroup's name. systemd's driver writes
//! `kubepods-burstable-podUID.slice` with underscores, cgroupfs' `kubepods/burstable/podUID`.
//! Who may make cgroups inside of a container may give them any names: the outermost one counts.

use std::{fs, path::Path};

/// Where Kata keeps a VMM's threads but for its vCPUs, unless it is told `sandbox_cgroup_only`.
const KATA_OVERHEAD: &str = "kata_overhead";
/// How many threads are looked at there.
const MAX_THREADS: usize = 256;

/// The UID of a process' pod, by its folder in /proc.
pub fn pod_uid(process: &Path) -> Option<String> {
    let cgroups = fs::read(process.join("cgroup")).ok()?;
    let cgroups = String::from_utf8_lossy(&cgroups);
    of_cgroups(&cgroups).or_else(|| {
        let kata = paths(&cgroups).any(|path| path.split('/').any(|part| part == KATA_OVERHEAD));
        if kata { of_threads(process) } else { None }
    })
}

/// The first thread that is in a pod: those of the vCPUs are.
fn of_threads(process: &Path) -> Option<String> {
    let threads = fs::read_dir(process.join("task")).ok()?;
    threads.take(MAX_THREADS).flatten().find_map(|thread| {
        let cgroups = fs::read(thread.path().join("cgroup")).ok()?;
        of_cgroups(&String::from_utf8_lossy(&cgroups))
    })
}

/// Of v1 every hierarchy has a line, of v2 there is one: any that names a pod will do.
pub fn of_cgroups(cgroups: &str) -> Option<String> {
    paths(cgroups).find_map(of_path)
}

/// `0::/path`, `4:cpu,cpuacct:/path`; a path may have colons of its own.
fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

fn of_path(path: &str) -> Option<String> {
    // What the kernel adds while the container goes.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    // Seen from another cgroup namespace, what both have in common is not shown.
    let mut below_kubepods = path.starts_with("/..");
    path.split('/').find_map(|part| {
        // `SLICE:cri-containerd:ID`: what containerd makes of systemd's form without systemd.
        let part = part.split(':').next().unwrap_or(part);
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let uid = of_slice(part).or_else(|| part.strip_prefix("pod").filter(|_| below_kubepods));
        below_kubepods |= part.ends_with("kubepods");
        uid.and_then(uid_of)
    })
}

/// Behind `kubepods-burstable-pod`, or kind's `kubelet-kubepods-pod`.
fn of_slice(part: &str) -> Option<&str> {
    let (parents, uid) = part.rsplit_once("-pod")?;
    parents.split('-').any(|parent| parent == "kubepods").then_some(uid)
}

/// A UUID, or the 32 digits that kubelet gives to a pod from a file. Nothing else gets into a label.
fn uid_of(text: &str) -> Option<String> {
    let uid = text.replace('_', "-");
    let groups: Vec<&str> = uid.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hex = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (hex && matches!(lengths.as_slice(), [8, 4, 4, 4, 12] | [32])).then_some(uid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "1858680e-b044-4fd5-9dd4-f137e30e2180";

    #[test]
    fn a_cgroup_path_that_nobody_has_seen_names_no_pod() {
        for path in [
            "/",
            "/user.slice/user-1000.slice/session-1.scope",
            "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator",
            &format!("/lxc/pod{UID}"),
            &format!("/system.slice/my-pod{UID}.service"),
            "/kubepods/burstable/podcast",
            "/kubepods/pod1858680e-b044-4fd5-9dd4-f137e30e21zz",
            "/kubepods/pod",
        ] {
            assert_eq!(of_cgroups(&format!("0::{path}\n")), None, "{path}");
        }
        assert_eq!(of_cgroups("nonsense\n\n0:\n"), None);
    }

    #[test]
    fn a_container_that_makes_cgroups_cannot_pass_for_another_pod() {
        let other = UID.replace('1', "2");
        let path = format!("0::/kubepods/burstable/pod{UID}/0123/kubepods/pod{other}/4567\n");
        assert_eq!(of_cgroups(&path).as_deref(), Some(UID));
    }

    proptest! {
        #[test]
        fn no_cgroup_makes_it_panic_or_a_label_that_is_no_uid(
            bytes: Vec<u8>, part in "(kubepods|pod|[-_:./a-f0-9]|\\PC){0,60}"
        ) {
            for cgroups in [
                String::from_utf8_lossy(&bytes).into_owned(),
                format!("0::/kubepods/pod{part}"),
                format!("0::/../{part}-kubepods-pod{part}.slice"),
            ] {
                let uid = of_cgroups(&cgroups).unwrap_or_default();
                prop_assert!(uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
                prop_assert!(uid.len() <= 36);
            }
        }
    }
}
