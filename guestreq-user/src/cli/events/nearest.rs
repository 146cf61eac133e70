//! # Warnings about unknown VMs
//!
//! The VM may start later, or its name may be mistyped.

use crate::{policy::instead, text::quoted, wire::Vms};

/// Warnings for names that no VM has.
pub fn unknown_vms(names: &[String], vms: &Vms) -> Vec<String> {
    let is_known =
        |name: &String| vms.vms.iter().any(|vm| [&vm.vm, &vm.name, &vm.uuid].contains(&name));
    names.iter().filter(|name| !is_known(name)).map(|name| warning(name, vms)).collect()
}

fn warning(name: &str, vms: &Vms) -> String {
    let running: Vec<_> = vms.vms.iter().filter(|vm| vm.running).map(|vm| vm.vm.as_str()).collect();
    let quoted = quoted(name);
    if running.is_empty() {
        return format!("no VM {quoted} is known yet, nor any other: waiting for it");
    }
    format!("no VM {quoted} is known yet: {}", instead(name, &running))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vms(names: &[(&str, bool)]) -> Vms {
        let vm = |(name, running): &(&str, bool)| {
            json!({
                "vm": name, "name": name, "uuid": "", "vmm": "qemu", "namespace": "",
                "pod_uid": "", "pid": 1, "running": running, "requests": 0, "extended_requests": 0,
                "tio_requests": 0, "results": {}, "vmpck": [],
                "stage_seconds": {}, "p50_seconds": null, "p99_seconds": null, "psp_seconds": {},
                "sequence_anomalies": {}, "rescued": 0, "lost_vmpcks": [],
                "vmpcks_lost": {}, "oldest_refused_seconds": null,
                "recent_requests_per_second": 0.0,
                "recent_psp_share": 0.0, "recent_messages_per_second": {},
                "recent_decisions_per_second": {}, "last_request_seconds_ago": null,
            })
        };
        let vms: Vec<_> = names.iter().map(vm).collect();
        serde_json::from_value(json!({"window_seconds": 1.0, "vms": vms})).unwrap()
    }

    fn warnings(name: &str, names: &[(&str, bool)]) -> Vec<String> {
        unknown_vms(&[name.to_owned()], &vms(names))
    }

    #[test]
    fn a_mistyped_name_is_reported_with_the_nearest_running_ones() {
        let running =
            [("db", true), ("web-1", true), ("web-22", true), ("wob", false), ("x", true)];
        assert_eq!(
            warnings("wbe-1", &running),
            ["no VM \"wbe-1\" is known yet: did you mean \"web-1\"?"]
        );
        assert_eq!(
            warnings("we\tb", &running[..1]),
            ["no VM \"we\\tb\" is known yet: there are \"db\""]
        );
    }

    #[test]
    fn running_and_exited_vms_are_known() {
        assert!(warnings("web", &[("web", true)]).is_empty());
        assert!(warnings("web", &[("web", false)]).is_empty());
        assert!(warnings("web", &[])[0].contains("waiting for it"));
    }
}
