//! What would be collected of a host with some VMs.

use serde_json::{Value, json};

use super::super::*;
use crate::{
    host::{Identity, clean, label},
    report::{Contents, Options, gather::Events, processes::Process},
    wire::identity::{Evidence, EvidenceSource},
};

#[derive(Clone, Debug)]
pub struct TestVm {
    pub name: String,
    pub namespace: String,
    pub uuid: String,
    pub pod_uid: String,
    pub pid: u32,
}

impl Default for TestVm {
    fn default() -> TestVm {
        let uuid = "7a1b2c3d-0000-4000-8000-93bd94900001".to_owned();
        let [name, namespace, pod_uid] = [""; 3].map(str::to_owned);
        TestVm { name, namespace, uuid, pod_uid, pid: 4711 }
    }
}

impl TestVm {
    fn identity(&self) -> Identity {
        let TestVm { name, namespace, uuid, pod_uid, .. } = self.clone();
        Identity { name, named: true, uuid, vmm: "qemu".to_owned(), namespace, pod_uid }
    }

    fn label(&self) -> String {
        label(&self.identity(), self.pid)
    }

    /// The name of its domain.
    fn domain(&self) -> String {
        match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}_{}", self.name),
        }
    }

    fn evidence(&self) -> Vec<Evidence> {
        let guest = self.domain().replace(',', ",,");
        let mut evidence = vec![
            Evidence::new("vmm", EvidenceSource::Exe, "/usr/bin/qemu-system-x86_64"),
            Evidence::new(
                "name",
                EvidenceSource::Argument,
                &format!("-name guest={guest},debug-threads=on"),
            ),
            Evidence::new(
                "uuid",
                EvidenceSource::Argument,
                &format!("-smbios type=1,uuid={},serial=7zqserial", self.uuid),
            ),
        ];
        let comm: String = format!("qemu:{}", self.name).chars().take(15).collect();
        evidence.push(Evidence::new("vmm", EvidenceSource::Comm, &comm));
        let slice = self.pod_uid.replace('-', "_");
        let pod = format!("0::/kubepods.slice/kubepods-pod{slice}.slice");
        evidence.push(Evidence::new("pod_uid", EvidenceSource::Cgroup, &pod));
        evidence
    }

    fn process(&self) -> Process {
        // As libvirt names it.
        let machine = self.name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
        let machine = machine.replace('-', "\\x2d");
        Process {
            pid: self.pid,
            vm: self.label(),
            identity: self.identity(),
            evidence: self.evidence(),
            cgroups: vec![
                format!("0::/machine.slice/machine-qemu\\x2d3\\x2d{machine}.scope/libvirt"),
                format!("1:cpu:/vms/{}", self.uuid.to_lowercase()),
            ],
        }
    }

    fn explained(&self, policy: &Value) -> Value {
        json!({
            "vm": self.label(), "pid": self.pid, "started": 7, "running": true, "unread": false,
            "identity": self.identity(), "evidence": self.evidence(),
            "rules": [{
                "rule": 1, "file": format!("/etc/guestreq/conf.d/{}.toml", self.name), "line": 3,
                "applied": false, "match": format!("name = {:?}, vmm = \"qemu\"", self.name),
                "matched": false, "why": format!("its name is {}", crate::text::quoted(&self.name)),
                "sets": {"mode": null, "allow": null, "limit": null, "weight": null}, "holds": [],
            }],
            "policy": policy, "notes": [],
        })
    }
}

/// Answers of an agent, of the overview that `top` is tested with.
fn answers(vms: &[TestVm]) -> Answers {
    let mut overview: Value =
        serde_json::from_str(include_str!("../../../../tests/top/overview.json")).unwrap();
    let (first, of_first) = (vms[0].label(), overview["vms"]["vms"][0].clone());
    let mut policy = overview["policy"].take();
    let of_vm = policy["vms"][0].clone();
    let with = |of: &Value, vm: &TestVm| {
        let mut of = of.clone();
        let TestVm { name, uuid, namespace, pod_uid, pid, .. } = vm;
        let known = json!({"vm": vm.label(), "name": name, "uuid": uuid, "namespace": namespace,
                           "pod_uid": pod_uid, "pid": pid, "vmm": "qemu"});
        of.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
        of
    };
    policy["vms"] = vms.iter().map(|vm| with(&of_vm, vm)).collect();
    policy["absent"] = json!({first.clone(): policy["default"]});
    policy["rules"] = vms.iter().map(rule).collect();
    let explained = vms.iter().map(|vm| Ok(vm.explained(&policy["default"])));
    let explained = explained.collect();
    let mut psp = overview["psp"].take();
    psp["holder"] = json!({"command": "snp_guest_request", "vm": first, "pid": 1, "seconds": 0.5});
    psp["order_error"] = Value::Null;
    psp["order"] = json!({
        "depth": 1, "launch_share": 0.5, "waiting": 1, "in_flight": 1, "held": false,
        "recent_held_share": 0.0, "grants": 7, "overdue": 0, "recent_overdue": 0, "killed": 0,
        "waited_seconds": 0.5, "held_seconds": 0.5, "launch_seconds": 0.5, "request_seconds": 0.5,
        "waiters": [{"vm": first, "pid": 1, "weight": 1, "waited_seconds": 0.5, "reason": "turn",
                     "behind": first}],
        "waiters_error": null,
    });
    let policy_of = policy["default"].clone();
    let agent = json!({
        "version": "0.1.0", "pid": 77, "ready": true, "reason": null, "maps": [],
        "enforcement": policy["enforcement"], "holder": psp["holder"], "unread_vms": 0,
        "psp": {"dead": true, "reason": "stuck"},
        "feature_file": {"path": "/x/guestreq", "error": "no such folder"},
    });
    Answers {
        agent: Ok(agent),
        vms: Ok(json!({"window_seconds": 10.0,
                       "vms": vms.iter().map(|vm| with(&of_first, vm)).collect::<Vec<_>>()})),
        psp: Ok(psp),
        launches: Ok(json!({"launches": vms.iter().map(launch).collect::<Vec<_>>()})),
        policy: Ok(policy),
        explained,
        events: Ok(Events {
            all: vms.iter().flat_map(|vm| events(vm, &policy_of)).collect(),
            is_cut: false,
            unknown: 0,
        }),
        metrics: Ok(Bounded { text: vms.iter().map(metrics).collect(), is_cut: false }),
    }
}

fn rule(vm: &TestVm) -> Value {
    json!({"match": {"name": format!("{}*", vm.name), "vmm": "qemu"}, "weight": 4,
           "file": format!("/etc/guestreq/conf.d/{}.toml", vm.name), "line": 1})
}

fn work(vm: &TestVm) -> Value {
    json!({"commands": 3, "pages": 7, "partial": true,
           "stage_seconds": {"psp_queue": 0.5, "psp_service": 0.5, "vmm": 0.5},
           "psp_used_by": [{"vm": vm.label(), "seconds": 0.5}]})
}

/// With all keys of several objects.
fn merged(all: &[Value]) -> Value {
    let objects = all.iter().filter_map(Value::as_object).cloned();
    Value::Object(objects.flatten().collect())
}

fn launch(vm: &TestVm) -> Value {
    let own = json!({"vm": vm.label(), "name": vm.name, "uuid": vm.uuid, "pid": vm.pid,
                     "state": "finished", "started": "2026-01-31T12:00:00.500Z", "seconds": 0.5,
                     "seconds_ago": 0.5, "inferred": false});
    merged(&[own, work(vm)])
}

fn events(vm: &TestVm, policy: &Value) -> Vec<Value> {
    let of_vm = json!({"id": 1, "agent": "00000000000000aa", "monotonic_ns": 7,
        "time": "2026-01-31T12:00:00.500Z", "vm": vm.label(), "name": vm.name,
        "uuid": vm.uuid, "pid": vm.pid});
    let event = |what: Value| merged(&[of_vm.clone(), what]);
    let error = format!("/etc/{}.toml: line 1: unknown field `{}`", vm.name, vm.name);
    let launched =
        json!({"kind": "launched", "result": "finished", "seconds": 0.5, "inferred": false});
    let changed = format!("{}: mode audit -> mode enforce", crate::text::quoted(&vm.label()));
    vec![
        event(json!({"kind": "new_vm", "vmm": "qemu"})),
        event(json!({"kind": "config_failed", "error": error})),
        event(json!({"kind": "config_reloaded", "files": ["/etc/x.toml"], "changed": changed})),
        event(json!({"kind": "policy_changed", "uid": 0, "target": {"vm": vm.label()},
                     "old": policy, "new": policy})),
        event(merged(&[launched, work(vm)])),
    ]
}

fn metrics(vm: &TestVm) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "# HELP guestreq_vm_info Identity of a VM.\nguestreq_vm_info{{vm=\"{}\",name=\"{}\",uuid=\"{}\",\
         vmm=\"qemu\"}} 1\n",
        escaped(&vm.label()),
        escaped(&vm.name),
        vm.uuid
    )
}

fn log(vm: &TestVm) -> String {
    let TestVm { name, uuid, .. } = vm;
    format!(
        "2026-01-31T12:00:00 denied: VM {:?}, report (type 5), VMPCK 0\n\
         VM {} has the UUID {uuid}\n/run/x.sock of {}\n",
        vm.label(),
        clean(name).replace('\n', "_"),
        name.escape_debug(),
    )
}

const TABLES: Tables = Tables {
    doctor: |report| format!("{report:?}"),
    vms: |vms| format!("{vms:?}"),
    psp: |psp| format!("{:?} {:?}", psp.commands, psp.messages),
    launches: |launches| format!("{launches:?}"),
    policy: |policies| format!("{policies:?}"),
    limits: |policies| format!("{policies:?}"),
    explained: |explained| format!("{explained:?}"),
    events: |events| format!("{events:?}"),
};

/// What is collected of a host with these VMs.
pub fn raw(vms: &[TestVm]) -> Raw {
    let folder = tempfile::tempdir().unwrap();
    let [proc, sys] = ["proc", "sys"].map(|tree| folder.path().join(tree));
    for tree in [&proc, &sys] {
        std::fs::create_dir(tree).unwrap();
    }
    // Whose cause is looked for on the kernel's command line.
    let parameters = sys.join("module/kvm_amd/parameters");
    std::fs::create_dir_all(&parameters).unwrap();
    std::fs::write(parameters.join("sev_snp"), "N\n").unwrap();
    std::fs::write(proc.join("cmdline"), "ro quiet iommu=pt ip=xq-node-7zqh\n").unwrap();
    let system = System::with(Some(proc), Some(sys)).unwrap();
    let options = Options { names: false, config: None, socket: None };
    let log = vms.iter().map(log).collect();
    Raw {
        answers: Ok(answers(vms)),
        processes: Processes {
            found: vms.iter().map(TestVm::process).collect(),
            missing: Vec::new(),
        },
        kernel_log: Err(anyhow!("needs root")),
        agent_log: Ok(Bounded { text: log, is_cut: false }),
        hostname: "xq-node-7zqh.example".to_owned(),
        ..Raw::read(&system, &options, now())
    }
}

pub fn assemble(raw: Raw, names: bool) -> Contents {
    raw.assemble(names, &TABLES, now()).unwrap()
}

/// The report of a host with these VMs.
pub fn report(vms: &[TestVm], names: bool) -> Contents {
    assemble(raw(vms), names)
}

pub fn now() -> Time {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

pub fn text_of(contents: &Contents, file: &str) -> String {
    let bytes = contents.files.get(file).unwrap_or_else(|| panic!("no {file}"));
    String::from_utf8(bytes.clone().unwrap()).unwrap()
}
