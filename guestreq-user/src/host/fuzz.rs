//! # /proc files of hostile processes

use super::{Identity, MAX_LABEL, MAX_NAME, cgroup, kubevirt, of_parts, signals, ticks_of};
use crate::{fuzz::Input, policy::key_of};

const OTHER_POD: &str = "/kubepods/pod0123456789abcdef0123456789abcdef";

/// Input: numbers to read, then what a process chooses: its name of 16 bytes, its arguments with
/// zero bytes between them, and after a 0xff its cgroups.
pub fn processes(data: &[u8]) {
    let mut input = Input(data);
    let (ticks, mask) = (input.u64(), input.u64());
    // TASK_COMM_LEN, with the zero at its end.
    let comm: [u8; 16] = input.bytes();
    let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default();
    stat(comm, ticks, input.0);
    status(comm, mask);
    let mut parts = input.0.splitn(2, |byte| *byte == 0xff);
    let (arguments, cgroups) = (parts.next().unwrap_or_default(), parts.next());
    arguments_of(arguments, comm);
    cgroups_of(&String::from_utf8_lossy(cgroups.unwrap_or_default()));
}

/// do_task_stat in fs/proc/array.c: the name as it is, in parentheses.
fn stat(comm: &[u8], ticks: u64, rest: &[u8]) {
    let mut stat = [b"7 (", comm, b") S"].concat();
    stat.extend_from_slice(" 1".repeat(18).as_bytes());
    stat.extend_from_slice(format!(" {ticks} 4096 1\n").as_bytes());
    assert_eq!(ticks_of(&stat), Some(ticks), "a name hides when its process began");
    // From any other text comes no number, or one that is in it.
    if let Some(ticks) = ticks_of(rest) {
        let digits = ticks.to_string();
        assert!(rest.windows(digits.len()).any(|part| part == digits.as_bytes()));
    }
}

/// proc_task_name there: a newline and a backslash are escaped, nothing else.
fn status(comm: &[u8], mask: u64) {
    let name = String::from_utf8_lossy(comm).replace('\\', "\\\\").replace('\n', "\\n");
    let status = format!("Name:\t{name}\nSigIgn:\t0\nSigCgt:\t{mask:016x}\nCapInh:\t0\n");
    let caught = |signal: u64| mask >> (signal - 1) & 1 == 1;
    let of = |vmm| signals::of_status(&status, vmm);
    assert_eq!(of("qemu"), Some(if caught(10) { 10 } else { 0 }));
    let real_time = [34, 35].into_iter().find(|signal| caught(*signal)).unwrap_or(0);
    assert_eq!(of("cloud-hypervisor"), Some(real_time));
    assert_eq!(of("another"), None);
}

fn arguments_of(arguments: &[u8], comm: &[u8]) {
    let of_arguments = |arguments: &[u8]| {
        let Ok(read) = of_parts(arguments, comm, None) else {
            unreachable!("memory is read without errors");
        };
        assert!(read.evidence.iter().all(|it| it.text.chars().count() <= 256));
        read.identity
    };
    is_plain(&of_arguments(arguments));
    // A name as libvirt quotes it is read as that name.
    let name = String::from_utf8_lossy(arguments).replace('\0', "");
    let quoted = name.replace(',', ",,");
    let line = format!("/usr/bin/qemu-system-x86_64\0-name\0guest={quoted},debug-threads=on\0-S\0");
    let vm = of_arguments(line.as_bytes());
    is_plain(&vm);
    assert_eq!(vm.named, !name.is_empty());
    if vm.named {
        assert_eq!(vm.name, name.chars().take(MAX_NAME).collect::<String>());
    }
}

/// Labels and keys are bounded and printable.
fn is_plain(vm: &Identity) {
    assert!(vm.name.chars().count() <= MAX_NAME);
    assert!(vm.named || vm.name.chars().count() <= MAX_LABEL);
    for label in [&vm.uuid, &vm.vmm] {
        assert!(label.chars().count() <= MAX_LABEL, "{label:?}");
        assert!(!label.chars().any(char::is_control), "{label:?}");
    }
    assert!(vm.namespace.is_empty() || kubevirt::is_namespace(&vm.namespace));
    let Some(key) = key_of(vm) else { return assert!(!vm.named && vm.uuid.is_empty()) };
    if vm.named {
        assert_eq!(key_of(&Identity::called(&key)).as_ref(), Some(&key), "found again by its key");
    }
}

fn cgroups_of(cgroups: &str) {
    let of_cgroups = |cgroups: &str| cgroup::of_cgroups(cgroups, None).map(|(uid, _)| uid);
    let Some(uid) = of_cgroups(cgroups) else { return };
    let digits = uid.bytes().filter(|byte| *byte != b'-');
    assert_eq!(digits.clone().count(), 32, "{uid}");
    assert!(digits.clone().all(|byte| byte.is_ascii_hexdigit()), "{uid}");
    // The outermost pod counts, whatever a container creates below its own cgroup.
    let below = |line: &str| {
        let (line, gone) = match line.strip_suffix(" (deleted)") {
            Some(line) => (line, " (deleted)"),
            None => (line, ""),
        };
        let pod = if of_cgroups(line).is_some() { OTHER_POD } else { "" };
        format!("{line}{pod}{gone}\n")
    };
    let below: String = cgroups.lines().map(below).collect();
    assert_eq!(of_cgroups(&below), Some(uid));
}
