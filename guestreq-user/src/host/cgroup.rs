//! # The pod that a process is in
//!
//! By its cgroups' names, without an API server: kubelet puts a pod's UID into its cgroup's name,
//! as `kubepods-burstable-podUID.slice` (systemd's driver, UID with underscores) or
//! `kubepods/burstable/podUID` (cgroupfs'). Containers and user sessions may create cgroups of any
//! name, so the outermost pod in kubelet's folders counts; if the agent is in a pod itself, in its
//! own kubelet's.

use std::{fs, path::Path};

/// Kata's cgroup for a VMM's threads other than vCPUs, without `sandbox_cgroup_only`.
const KATA_OVERHEAD: &str = "kata_overhead";
/// Most threads read there.
const MAX_THREADS: usize = 256;

/// The UID of a process' pod, by its folder in /proc, and the line that shows it.
pub fn pod_uid(process: &Path) -> Option<(String, String)> {
    let own = read(&process.with_file_name("self"));
    let own = own.as_deref().and_then(own_kubepods);
    let cgroups = read(process)?;
    of_cgroups(&cgroups, own).or_else(|| {
        let kata = paths(&cgroups).any(|path| path.split('/').any(|part| part == KATA_OVERHEAD));
        if kata { of_threads(process, own) } else { None }
    })
}

fn read(process: &Path) -> Option<String> {
    let cgroups = super::read_some(&process.join("cgroup")).ok()?;
    Some(String::from_utf8_lossy(&cgroups).into_owned())
}

/// The pod of the first thread that is in one, as vCPU threads are.
fn of_threads(process: &Path, own: Option<&str>) -> Option<(String, String)> {
    let threads = fs::read_dir(process.join("task")).ok()?;
    let mut threads = threads.take(MAX_THREADS).flatten();
    threads.find_map(|thread| of_cgroups(&read(&thread.path())?, own))
}

/// Our own kubelet's folder of pods, if we are in one and our cgroup namespace shows it.
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

/// v1 has a line per hierarchy, v2 one line: the first that names a pod counts, below our own
/// kubepods if we have one.
pub fn of_cgroups(cgroups: &str, own: Option<&str>) -> Option<(String, String)> {
    let below = |path: &str| {
        own.is_none_or(|own| {
            path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    cgroups.lines().find_map(|line| {
        let path = path_of(line).filter(|path| below(path))?;
        Some((of_path(path)?, line.to_owned()))
    })
}

fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(path_of)
}

/// `0::/path`, `4:cpu,cpuacct:/path`; a path may have colons of its own.
fn path_of(line: &str) -> Option<&str> {
    line.splitn(3, ':').nth(2)
}

/// The position in a path.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Above kubepods, if there is one.
    Above,
    /// Below an ancestor of ours, which only kubelet, systemd and the like create.
    Ancestor,
    /// In kubepods, or in the folder of one of its classes.
    Kubepods,
}

fn of_path(path: &str) -> Option<String> {
    // The kernel adds this while the container is removed.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    // From another cgroup namespace the common part is not shown.
    let mut place = if path.starts_with("/..") { Place::Ancestor } else { Place::Above };
    for part in path.split('/').filter(|part| !matches!(*part, "" | "..")) {
        let part = plain(part);
        let pod = part.strip_prefix("pod").filter(|_| place != Place::Above);
        if let Some(uid) = of_slice(part).or(pod) {
            return uid_of(uid);
        }
        place = match place {
            _ if is_kubepods(part) => Place::Kubepods,
            // Its owner may create any names below it.
            Place::Above if part == "user" => return None,
            Place::Above => Place::Above,
            _ if is_class(part) => Place::Kubepods,
            // Folders between the root and kubepods that only kubelet and Kata create.
            Place::Ancestor if matches!(part, "kubelet" | KATA_OVERHEAD) => Place::Ancestor,
            _ => return None,
        };
    }
    None
}

/// A part without what systemd and containerd add.
fn plain(part: &str) -> &str {
    // `SLICE:cri-containerd:ID`: containerd's name for systemd's form without systemd.
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

/// A UUID, or the 32 digits of a static pod. Nothing else gets into a label.
fn uid_of(text: &str) -> Option<String> {
    let uid = text.replace('_', "-");
    let groups: Vec<&str> = uid.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let hex = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (hex && matches!(lengths.as_slice(), [8, 4, 4, 4, 12] | [32])).then_some(uid)
}

#[cfg(test)]
mod tests;
