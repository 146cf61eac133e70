//! # The pod that a process is in
//!
//! Told by its control groups' names alone, so that no API server has to be asked: kubelet puts a
//! pod's UID into its cgroup's name. systemd's driver writes
//! `kubepods-burstable-podUID.slice` with underscores, cgroupfs' `kubepods/burstable/podUID`.
//! Whoever may make cgroups, inside of a container or below a user's session, may give them any
//! names: what counts is the outermost pod, in the folders that kubelet makes. Where the agent is
//! in a pod itself, these are its own kubelet's.

use std::{fs, path::Path};

/// Where Kata keeps a VMM's threads but for its vCPUs, unless it is told `sandbox_cgroup_only`.
const KATA_OVERHEAD: &str = "kata_overhead";
/// How many threads are looked at there.
const MAX_THREADS: usize = 256;

/// The UID of a process' pod, by its folder in /proc.
pub fn pod_uid(process: &Path) -> Option<String> {
    let own = read(&process.with_file_name("self"));
    let own = own.as_deref().and_then(own_kubepods);
    let cgroups = read(process)?;
    of_cgroups(&cgroups, own).or_else(|| {
        let kata = paths(&cgroups).any(|path| path.split('/').any(|part| part == KATA_OVERHEAD));
        if kata { of_threads(process, own) } else { None }
    })
}

fn read(process: &Path) -> Option<String> {
    let cgroups = fs::read(process.join("cgroup")).ok()?;
    Some(String::from_utf8_lossy(&cgroups).into_owned())
}

/// The first thread that is in a pod: those of the vCPUs are.
fn of_threads(process: &Path, own: Option<&str>) -> Option<String> {
    let threads = fs::read_dir(process.join("task")).ok()?;
    let mut threads = threads.take(MAX_THREADS).flatten();
    threads.find_map(|thread| of_cgroups(&read(&thread.path())?, own))
}

/// Where our own kubelet keeps its pods, if we are in one and our cgroup namespace shows it.
fn own_kubepods(cgroups: &str) -> Option<&str> {
    paths(cgroups).find_map(|path| {
        of_path(path)?;
        let mut end = 0;
        path.split('/').find_map(|part| {
            end += part.len();
            let found = is_kubepods(plain(part)).then(|| &path[..end]);
            end += 1;
            found
        })
    })
}

/// Of v1 every hierarchy has a line, of v2 there is one: any that names a pod will do, below our
/// own kubepods if we have one.
pub fn of_cgroups(cgroups: &str, own: Option<&str>) -> Option<String> {
    let below = |path: &&str| {
        own.is_none_or(|own| {
            path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    paths(cgroups).filter(below).find_map(of_path)
}

/// `0::/path`, `4:cpu,cpuacct:/path`; a path may have colons of its own.
fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// Where a part of a path is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Somewhere above kubepods, if it is above that at all.
    Above,
    /// Below one of our own ancestors, which only kubelet, systemd and their like make.
    Ancestor,
    /// In kubepods, or in the folder of one of its classes.
    Kubepods,
}

fn of_path(path: &str) -> Option<String> {
    // What the kernel adds while the container goes.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    // Seen from another cgroup namespace, what both have in common is not shown.
    let mut place = if path.starts_with("/..") { Place::Ancestor } else { Place::Above };
    for part in path.split('/').filter(|part| !matches!(*part, "" | "..")) {
        let part = plain(part);
        let pod = part.strip_prefix("pod").filter(|_| place != Place::Above);
        if let Some(uid) = of_slice(part).or(pod) {
            return uid_of(uid);
        }
        place = match place {
            _ if is_kubepods(part) => Place::Kubepods,
            // Its owner makes any names below it.
            Place::Above if part == "user" => return None,
            Place::Above => Place::Above,
            _ if is_class(part) => Place::Kubepods,
            // What may stand between the root and kubepods, and is nobody else's.
            Place::Ancestor if matches!(part, "kubelet" | KATA_OVERHEAD) => Place::Ancestor,
            _ => return None,
        };
    }
    None
}

/// A part without what systemd and containerd add.
fn plain(part: &str) -> &str {
    // `SLICE:cri-containerd:ID`: what containerd makes of systemd's form without systemd.
    let part = part.split(':').next().unwrap_or(part);
    part.strip_suffix(".slice").unwrap_or(part)
}

/// `kubepods`, or kind's `kubelet-kubepods`.
fn is_kubepods(part: &str) -> bool {
    part.strip_suffix("kubepods")
        .is_some_and(|parents| parents.is_empty() || parents.ends_with('-'))
}

/// `burstable`, or systemd's `kubepods-burstable`. Guaranteed pods are in kubepods itself.
fn is_class(part: &str) -> bool {
    let (parents, class) = part.rsplit_once('-').unwrap_or(("kubepods", part));
    matches!(class, "burstable" | "besteffort") && is_kubepods(parents)
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
            assert_eq!(of_cgroups(&format!("0::{path}\n"), None), None, "{path}");
        }
        assert_eq!(of_cgroups("nonsense\n\n0:\n", None), None);
    }

    #[test]
    fn a_container_that_makes_cgroups_cannot_pass_for_another_pod() {
        let other = UID.replace('1', "2");
        let path = format!("0::/kubepods/burstable/pod{UID}/0123/kubepods/pod{other}/4567\n");
        assert_eq!(of_cgroups(&path, None).as_deref(), Some(UID));
    }

    /// Row 13 of the second review: `/..` counted as kubepods, whatever stood behind it.
    #[test]
    fn who_makes_cgroups_of_their_own_cannot_pass_for_a_pod() {
        let mine = format!("pod{UID}");
        let slice = format!("kubepods-burstable-{}.slice", mine.replace('-', "_"));
        for owned in [
            "user.slice/user-1000.slice/user@1000.service/app.slice",
            "user.slice/user-1000.slice/user@1000.service/kubepods",
        ] {
            for (up, pod) in ["", "/..", "/../../../.."].iter().zip([&mine, &slice, &mine]) {
                let path = format!("0::{up}/{owned}/{pod}\n");
                assert_eq!(of_cgroups(&path, None), None, "{path}");
            }
        }
        for owned in ["system.slice/docker-0123.scope/kubepods", "machine.slice/x", "0123", "lxc"] {
            for pod in [&mine, &slice] {
                let path = format!("0::/../../..//{owned}/{pod}\n");
                assert_eq!(of_cgroups(&path, None), None, "{path}");
            }
        }
        // Kubelet puts nothing between a class and its pods.
        assert_eq!(of_cgroups(&format!("0::/kubepods/burstable/x/{mine}\n"), None), None);
    }

    #[test]
    fn kubelet_s_own_folders_are_known_from_any_cgroup_of_ours() {
        let pod = format!("pod{UID}");
        let of_systemd = pod.replace('-', "_");
        for path in [
            format!("/../{pod}"),
            format!("/../../burstable/{pod}/0123"),
            format!("/../../../kubepods/{pod}"),
            format!("/../../kubepods-{of_systemd}.slice/cri-containerd-0123.scope"),
            format!("/../../../kubepods-besteffort.slice/kubepods-besteffort-{of_systemd}.slice"),
            format!("/../../../../kubelet/kubepods/besteffort/{pod}"),
            format!("/../../../../kata_overhead/kubepods/besteffort/{pod}"),
        ] {
            assert_eq!(of_cgroups(&format!("0::{path}\n"), None).as_deref(), Some(UID), "{path}");
        }
    }

    #[test]
    fn an_agent_in_a_pod_believes_its_own_kubelet_only() {
        let ours = "1:name=systemd:/\n0::/kubelet/kubepods/burstable/\
                    pod11111111111111111111111111111111/4567\n";
        assert_eq!(own_kubepods(ours), Some("/kubelet/kubepods"));
        assert_eq!(own_kubepods("0::/system.slice/guestreq.service\n"), None);
        assert_eq!(own_kubepods("0::/../../kubepods/x\n"), None, "not in a pod");
        let of = |path: &str| of_cgroups(&format!("0::{path}/pod{UID}\n"), own_kubepods(ours));
        assert_eq!(of("/kubelet/kubepods/besteffort").as_deref(), Some(UID));
        assert_eq!(of("/docker/0123/kubelet/kubepods"), None);
        assert_eq!(of("/kubelet/kubepods-of-mine/kubepods"), None);
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
                let uid = of_cgroups(&cgroups, None).unwrap_or_default();
                prop_assert!(uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
                prop_assert!(uid.len() <= 36);
            }
        }
    }
}
