//! # The OCI spec for runc
//!
//! What containerd makes of a pod's security context (pkg/oci and internal/cri in its tree): masked
//! paths, default mounts and namespaces.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Pod, seccomp};

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub fn spec(pod: &Pod) -> Result<Value> {
    let (pod_s, own) = (&pod.template["securityContext"], &pod.container["securityContext"]);
    ensure!(own["privileged"] == false, "it is privileged");
    ensure!(own["capabilities"]["drop"] == json!(["ALL"]), "not all capabilities are dropped");
    ensure!(pod.template["hostNetwork"].is_null(), "it has the host's network");
    let capabilities: Vec<String> =
        pod.capabilities().iter().map(|name| format!("CAP_{name}")).collect();
    let mut arguments = vec![json!("/guestreq")];
    arguments.extend(pod.container["args"].as_array().context("no arguments")?.iter().cloned());
    let mut namespaces = vec!["mount", "ipc", "uts", "cgroup"];
    if pod.template["hostPID"] != true {
        namespaces.push("pid");
    }
    let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let mut mounts = defaults();
    mounts.extend(volumes(pod)?);
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": pod_s["runAsUser"], "gid": pod_s["runAsGroup"]},
            "args": arguments,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": own["allowPrivilegeEscalation"] == false,
        },
        "root": {"path": "rootfs", "readonly": own["readOnlyRootFilesystem"]},
        "mounts": mounts,
        "linux": {
            "cgroupsPath": format!("/{}", pod.name),
            "namespaces": namespaces,
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": bytes(&pod.container["resources"]["limits"]["memory"])?},
            },
            "seccomp": seccomp::of(pod, &capabilities)?,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    }))
}

fn defaults() -> Vec<Value> {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}

fn volumes(pod: &Pod) -> Result<Vec<Value>> {
    let mut mounts = pod.container["volumeMounts"].as_array().cloned().unwrap_or_default();
    // Outer mounts first.
    mounts.sort_by_key(|mount| mount["mountPath"].as_str().map(str::len));
    let mount = |mount: &Value| {
        let access = if mount["readOnly"] == true { "ro" } else { "rw" };
        let propagation = match mount["mountPropagation"].as_str() {
            None | Some("None") => "rprivate",
            Some("HostToContainer") => "rslave",
            other => anyhow::bail!("propagation {other:?} is for privileged containers"),
        };
        Ok(json!({
            "destination": mount["mountPath"],
            "type": "bind",
            "source": pod.source(mount["name"].as_str().context("a mount without a name")?)?,
            "options": ["rbind", propagation, access],
        }))
    };
    mounts.iter().map(mount).collect()
}

/// `256Mi`
fn bytes(quantity: &Value) -> Result<u64> {
    let text = quantity.as_str().context("no limit of memory")?;
    let mebibytes: u64 = text.strip_suffix("Mi").context("not in Mi")?.parse()?;
    Ok(mebibytes << 20)
}
