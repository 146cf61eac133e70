//! # Security contexts of pods and containers

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::manifest::{only, text, texts};
use crate::messages::container::{Capability, LinuxContainerSecurityContext};
use crate::messages::sandbox::LinuxSandboxSecurityContext;
use crate::messages::{
    Int64Value, NamespaceMode, NamespaceOption, ProfileType, SeLinuxOption, SecurityProfile,
};

/// What a kubelet hides of /proc and /sys from every container that is not privileged.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container's context without what it has from its pod.
const OWN: [&str; 4] =
    ["privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"];
/// A pod's context.
const POD: [&str; 5] =
    ["runAsUser", "runAsGroup", "seccompProfile", "appArmorProfile", "seLinuxOptions"];

pub fn of_sandbox(spec: &Value) -> Result<LinuxSandboxSecurityContext> {
    let context = &spec["securityContext"];
    only(context, "the pod's securityContext", &POD)?;
    Ok(LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        selinux_options: selinux(context),
        run_as_user: id(context, "runAsUser"),
        run_as_group: id(context, "runAsGroup"),
        privileged: privileged_anywhere(spec),
        // A kubelet's own choice, whatever the pod's profile is.
        seccomp: Some(profile(ProfileType::RuntimeDefault, String::new())),
    })
}

/// `profiles` is the folder of Localhost's seccomp profiles.
pub fn of_container(
    spec: &Value,
    container: &Value,
    profiles: &Path,
) -> Result<LinuxContainerSecurityContext> {
    let (pod, own) = (&spec["securityContext"], &container["securityContext"]);
    only(own, "a container's securityContext", &OWN)?;
    only(&own["capabilities"], "capabilities", &["add", "drop"])?;
    let privileged = own["privileged"] == true;
    let hidden = |paths: &[&str]| match privileged {
        true => Vec::new(),
        false => paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    Ok(LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: texts(&own["capabilities"], "add")?,
            drop_capabilities: texts(&own["capabilities"], "drop")?,
        }),
        privileged,
        namespace_options: Some(namespaces(spec)),
        selinux_options: selinux(pod),
        run_as_user: id(pod, "runAsUser"),
        run_as_group: id(pod, "runAsGroup"),
        readonly_rootfs: own["readOnlyRootFilesystem"] == true,
        no_new_privs: own["allowPrivilegeEscalation"] == false,
        masked_paths: hidden(&MASKED),
        readonly_paths: hidden(&READ_ONLY),
        seccomp: Some(seccomp(pod, privileged, profiles)?),
        apparmor: apparmor(pod)?,
    })
}

fn namespaces(spec: &Value) -> NamespaceOption {
    let pid = if spec["hostPID"] == true { NamespaceMode::Node } else { NamespaceMode::Container };
    NamespaceOption {
        network: NamespaceMode::Pod.into(),
        pid: pid.into(),
        ipc: NamespaceMode::Pod.into(),
    }
}

fn seccomp(pod: &Value, privileged: bool, profiles: &Path) -> Result<SecurityProfile> {
    let wanted = &pod["seccompProfile"];
    only(wanted, "seccompProfile", &["type", "localhostProfile"])?;
    Ok(match wanted["type"].as_str() {
        None | Some("Unconfined") => profile(ProfileType::Unconfined, String::new()),
        Some(_) if privileged => bail!("a profile, and a privileged container"),
        Some("RuntimeDefault") => profile(ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let file = profiles.join(text(wanted, "localhostProfile")?);
            ensure!(file.is_file(), "no seccomp profile {}", file.display());
            profile(ProfileType::Localhost, file.display().to_string())
        }
        Some(other) => bail!("seccomp profile {other:?}"),
    })
}

/// Without one the runtime has its own default, also where the kernel has no AppArmor.
fn apparmor(pod: &Value) -> Result<Option<SecurityProfile>> {
    let kind = match pod["appArmorProfile"]["type"].as_str() {
        None => return Ok(None),
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Unconfined") => ProfileType::Unconfined,
        Some(other) => bail!("AppArmor profile {other:?}"),
    };
    Ok(Some(profile(kind, String::new())))
}

fn profile(kind: ProfileType, localhost_ref: String) -> SecurityProfile {
    SecurityProfile { profile_type: kind.into(), localhost_ref }
}

fn selinux(pod: &Value) -> Option<SeLinuxOption> {
    let options = pod["seLinuxOptions"].as_object()?;
    let of = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(SeLinuxOption {
        user: of("user"),
        role: of("role"),
        r#type: of("type"),
        level: of("level"),
    })
}

fn id(context: &Value, key: &str) -> Option<Int64Value> {
    context[key].as_i64().map(|value| Int64Value { value })
}

fn privileged_anywhere(spec: &Value) -> bool {
    let lists = ["initContainers", "containers"].map(|list| spec[list].as_array());
    let mut all = lists.into_iter().flatten().flatten();
    all.any(|container| container["securityContext"]["privileged"] == true)
}

/// Fails for what a kubelet refuses before it asks the runtime.
pub fn check(container: &Value) -> Result<()> {
    let own = &container["securityContext"];
    let named = container["name"].as_str().context("a container without a name")?;
    let escalates = own["privileged"] == true && own["allowPrivilegeEscalation"] == false;
    ensure!(!escalates, "{named} is privileged and may not escalate privileges");
    Ok(())
}
