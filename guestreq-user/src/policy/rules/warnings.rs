//! # Patterns that match no VM that anybody means by them

use super::{Glob, quoted};
use crate::host::Vmm;

/// A label of one of several VMs of a name, which has the pid behind it.
pub fn of_a_namesake(pattern: &Glob) -> Option<String> {
    let (name, pid) = pattern.as_str().rsplit_once('@')?;
    (!name.is_empty() && is_pid(pid)).then(|| {
        format!(
            "name = {pattern} matches no VM that is shown so evidence of another of its name: the \
             pid is not part of it, {} is",
            quoted(name)
        )
    })
}

/// The label of a VM without a name, which is its process' name and the pid.
pub fn of_a_process(pattern: &Glob) -> Option<String> {
    let (comm, pid) = pattern.as_str().rsplit_once('-')?;
    // VMs are called `kvm-1` and `qemu-1`, too.
    let is_program = comm.starts_with("qemu-system-")
        || matches!(comm, "qemu-kvm" | "cloud-hyperviso" | "firecracker");
    (is_program && is_pid(pid)).then(|| {
        format!(
            "name = {pattern} matches no VM that is shown so evidence it has no name: match its \
             uuid, pod_uid or vmm"
        )
    })
}

fn is_pid(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A UUID in another form than VMMs and kubelet take and show.
pub fn of_another_form(key: &str, pattern: &Glob) -> Option<String> {
    let text = pattern.as_str();
    let inner = text.trim_start_matches("urn:uuid:").trim_matches(['{', '}']);
    let digits = inner.replace(['-', '_'], "");
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    // kubelet gives a pod from a file one without dashes.
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
