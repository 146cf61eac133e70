//! # Warnings about patterns that match no VM

use super::{Glob, quoted};
use crate::host::Vmm;

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
    let inner = text.trim_start_matches("urn:uuid:").trim_matches(['{', '}']);
    let digits = inner.replace(['-', '_'], "");
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    // kubelet's UIDs of static pods have no dashes.
    let is_of_a_file = key == "pod_uid" && text == digits;
    if !is_uuid || is_of_a_file {
        return None;
    }
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    let usual = parts.join("-");
    (text != usual).then(|| {
        let usual = quoted(&usual);
        format!("{key} = {pattern} matches no VM: its {key} would be written {usual}")
    })
}

/// What no UUID is like.
pub fn of_no_uuid(key: &str, pattern: &Glob) -> Option<String> {
    let text = pattern.as_str();
    let is_of_uuid = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | '*' | '?');
    if !text.chars().all(is_of_uuid) {
        let why = "it has only hexadecimal digits and dashes";
        return Some(format!("{key} = {pattern} matches no VM: {why}"));
    }
    // A pod's may be any hash.
    (key == "uuid" && !text.contains('*') && text.len() != 36).then(|| {
        let beginning = quoted(&format!("{text}*"));
        format!(
            "{key} = {pattern} matches no VM: a UUID has 36 characters; {beginning} matches those \
             that begin with it"
        )
    })
}

/// What no name of a Kubernetes namespace is like (RFC 1123's labels).
pub fn of_no_namespace(pattern: &Glob) -> Option<String> {
    let is_of_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
    let text = pattern.as_str();
    let instead = match text.split_once('/') {
        _ if text.chars().all(is_of_label) => return None,
        Some(_) => format!("; name = {pattern} matches namespace and name"),
        None => String::new(),
    };
    Some(format!(
        "namespace = {pattern} matches no VM: it has only lower-case letters, digits and \
         dashes{instead}"
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
