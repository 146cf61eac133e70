//! What hosts have, and what is to be read of it: one line for each.

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    /// Where it was seen, or is said.
    source: String,
    comm: String,
    cmdline: Vec<String>,
    /// Its program's file, where that may be read.
    exe: Option<String>,
    cgroup: String,
    is: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    vmm: String,
    named: bool,
    name: Option<String>,
    #[serde(default)]
    uuid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    pod_uid: String,
}

fn read(lines: &str, least: usize) {
    let mut seen = std::collections::BTreeSet::new();
    for line in lines.lines() {
        let Case { id, source, comm, cmdline, exe, cgroup, is } =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(!source.is_empty() && seen.insert(id.clone()), "{id}");
        let proc = tempfile::tempdir().unwrap();
        let cmdline: String = cmdline.iter().map(|one| format!("{one}\0")).collect();
        for (file, text) in
            [("comm", format!("{comm}\n")), ("cmdline", cmdline), ("cgroup", cgroup)]
        {
            fs::write(proc.path().join(file), text).unwrap();
        }
        if let Some(exe) = exe {
            symlink(exe, proc.path().join("exe")).unwrap();
        }
        let Identified { identity, evidence } = of_folder(proc.path()).unwrap().unwrap();
        let expected = Identity {
            name: is.name.unwrap_or_else(|| comm.clone()),
            named: is.named,
            uuid: is.uuid,
            vmm: is.vmm,
            namespace: is.namespace,
            pod_uid: is.pod_uid,
        };
        assert_eq!(identity, expected, "{id}: {source}");
        // A field has evidence exactly if it has a value.
        for (field, value) in [
            ("name", &identity.name),
            ("uuid", &identity.uuid),
            ("vmm", &identity.vmm),
            ("namespace", &identity.namespace),
            ("pod_uid", &identity.pod_uid),
        ] {
            let reasons = evidence.iter().filter(|it| it.field == field).count();
            assert_eq!(reasons, usize::from(!value.is_empty()), "{id}: {field}: {evidence:?}");
        }
    }
    assert!(seen.len() >= least, "only {}", seen.len());
}

#[test]
fn vms_are_identified() {
    read(include_str!("../cases/vms.jsonl"), 69);
}

#[test]
fn their_pods_are_found_by_their_cgroups() {
    read(include_str!("../cases/cgroups.jsonl"), 12);
}
