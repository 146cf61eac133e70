//! # What follows a denial in the vcpu backend

use guestreq_common::policy::{AfterDenial, Backend, Mode};

use crate::policy::Effective;

/// What follows a denial, where a denial keeps a vCPU out of its guest.
pub fn after_denial(backend: Backend, configured: AfterDenial) -> Option<AfterDenial> {
    (backend == Backend::Vcpu).then_some(configured)
}

/// The same in words.
pub fn describe(after: AfterDenial) -> &'static str {
    match after {
        AfterDenial::Hold => "the vCPU is held until the type is allowed",
        AfterDenial::Stop => "the vCPU is stopped, and its VMM gives the VM up",
    }
}

/// A remark for a VM that this may happen to.
pub fn note(policy: &Effective, after: Option<AfterDenial>) -> Option<String> {
    let after = after.filter(|_| policy.mode.value.0 == Mode::Enforce)?;
    Some(format!("backend vcpu: after a denied type {} (vcpu_denied)", describe(after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn note_of(text: &str) -> Option<String> {
        let config = Config::parse(text).unwrap();
        let policy = config.policy_set(Default::default()).default();
        note(&policy, after_denial(config.backend.0, config.vcpu_denied.0))
    }

    #[test]
    fn a_vm_has_a_note_where_a_denial_holds_or_stops_its_vcpu() {
        assert_eq!(note_of("mode = \"enforce\""), None, "the gate's guest gets an answer");
        assert_eq!(note_of("backend = \"vcpu\""), None, "audit refuses nothing");
        let vcpu = "mode = \"enforce\"\nbackend = \"vcpu\"\n";
        let held = note_of(vcpu).unwrap();
        assert!(held.contains("held until the type is allowed"), "{held}");
        let stopped = note_of(&format!("{vcpu}vcpu_denied = \"stop\"\n")).unwrap();
        assert!(stopped.contains("its VMM gives the VM up"), "{stopped}");
    }
}
