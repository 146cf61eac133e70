//! # Warnings about patterns that match no VM

use super::{Glob, quoted};
use crate::{host::Vmm, text::usual_uuid};

/// A label with a pid, which tells VMs of one name apart.
pub fn of_a_namesake(pattern: &Glob) -> Option<String> {
    let (name, pid) = pattern.as_str().rsplit_once('@')?;
    (!name.is_empty() && is_pid(pid)).then(|| {
        format!(
            "name = {pattern} matches no VM with this label: the pid is not part of its name, \
             which is {}",
            quoted(name)
        )
    })
}

/// The label of a VM without a name: its process' name and the pid.
pub fn of_a_process(pattern: &Glob) -> Option<String> {
    let (comm, pid) = pattern.as_str().rsplit_once('-')?;
    // Names such as `kvm-1` and `qemu-1` are common.
    let is_program = comm.starts_with("qemu-system-")
        || matches!(comm, "qemu-kvm" | "cloud-hyperviso" | "firecracker");
    (is_program && is_pid(pid)).then(|| {
        format!(
            "name = {pattern} matches no VM with this label: it has no name, so match its uuid, \
             pod_uid or vmm"
        )
    })
}

fn is_pid(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A UUID in another form than VMMs and kubelet use.
pub fn of_another_form(key: &str, pattern: &Glob) -> Option<String> {
    let text = pattern.as_str();
    let usual = usual_uuid(text)?;
    // kubelet's UIDs of static pods have no dashes.
    let is_of_a_file = key == "pod_uid" && text == usual.replace('-', "");
    (text != usual && !is_of_a_file).then(|| {
        let usual = quoted(&usual);
        format!("{key} = {pattern} matches no VM: its {key} would be written {usual}")
    })
}

/// What no UUID is like.
pub fn of_no_uuid(key: &str, pattern: &Glob) -> Option<String> {
    let text = pattern.as_str();
    let is_of_uuid = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | '*' | '?');
    if !text.chars().all(is_of_uuid) {
        let why = "a UUID has only hexadecimal digits and dashes";
        return Some(format!("{key} = {pattern} matches no VM: {why}"));
    }
    // A pod's may be any hash.
    if key != "uuid" || text.contains('*') || text.len() == 36 {
        return None;
    }
    let instead = match text.len() {
        ..36 => format!("; {} matches those that begin with it", quoted(&format!("{text}*"))),
        _ => String::new(),
    };
    Some(format!("{key} = {pattern} matches no VM: a UUID has 36 characters{instead}"))
}

/// What no name of a Kubernetes namespace is like (RFC 1123's labels).
pub fn of_no_namespace(pattern: &Glob) -> Option<String> {
    let is_of_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
    let is_label = |text: &str| text.chars().all(is_of_label);
    let instead = match pattern.as_str().split_once('/') {
        None if is_label(pattern.as_str()) => return None,
        Some((namespace, _)) if is_label(namespace) => {
            format!("; name = {pattern} matches namespace and name")
        }
        _ => String::new(),
    };
    Some(format!(
        "namespace = {pattern} matches no VM: a namespace has only lower-case letters, digits \
         and dashes{instead}"
    ))
}

/// The name of a VMM's program, or of its process.
pub fn of_a_program(pattern: &Glob) -> Option<String> {
    let text = pattern.as_str().to_ascii_lowercase();
    let vmm = Vmm::of_comm(&text).or_else(|| Vmm::of_program(&text))?;
    (!pattern.matches(vmm.name())).then(|| {
        format!(
            "vmm = {pattern} matches no VM: whatever its program is called, its vmm is {:?}",
            vmm.name()
        )
    })
}
