//! # A VM that does not run
//!
//! It may come; but if the name was mistyped, one would wait for ever.

use crate::{policy::instead, text::quoted, wire::Vms};

/// What to say of names that none of the VMs has.
pub fn strangers(asked: &[String], vms: &Vms) -> Vec<String> {
    let is_known =
        |name: &String| vms.vms.iter().any(|vm| [&vm.vm, &vm.name, &vm.uuid].contains(&name));
    asked.iter().filter(|name| !is_known(name)).map(|name| stranger(name, vms)).collect()
}

fn stranger(name: &str, vms: &Vms) -> String {
    let running: Vec<_> = vms.vms.iter().filter(|vm| vm.running).map(|vm| vm.vm.as_str()).collect();
    let asked = quoted(name);
    if running.is_empty() {
        return format!("no VM {asked}, and no other, is known yet: waiting for it");
    }
    format!("no VM {asked} is known yet: {}", instead(name, &running))
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
                "sequence_anomalies": {}, "recent_requests_per_second": 0.0,
                "recent_psp_share": 0.0, "recent_messages_per_second": {},
                "recent_decisions_per_second": {}, "last_request_seconds_ago": null,
            })
        };
        let vms: Vec<_> = names.iter().map(vm).collect();
        serde_json::from_value(json!({"window_seconds": 1.0, "vms": vms})).unwrap()
    }

    fn said(name: &str, names: &[(&str, bool)]) -> Vec<String> {
        strangers(&[name.to_owned()], &vms(names))
    }

    #[test]
    fn a_mistyped_name_is_told_with_the_nearest_that_run() {
        let running =
            [("db", true), ("web-1", true), ("web-22", true), ("wob", false), ("x", true)];
        assert_eq!(
            said("wbe-1", &running),
            ["no VM \"wbe-1\" is known yet: did you mean \"web-1\"?"]
        );
        assert_eq!(
            said("we\tb", &running[..1]),
            ["no VM \"we\\tb\" is known yet: there are \"db\""]
        );
    }

    #[test]
    fn what_runs_or_ran_is_no_stranger() {
        assert!(said("web", &[("web", true)]).is_empty());
        assert!(said("web", &[("web", false)]).is_empty());
        assert!(said("web", &[])[0].contains("waiting for it"));
    }
}
