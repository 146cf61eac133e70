//! # Seccomp profiles of containers
//!
//! RuntimeDefault is the runtime's default profile, filtered by the container's capabilities: rules
//! in order, with their actions and errors. Localhost is a file, used as it is. runc loads either
//! by libseccomp, as on a node.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::Pod;
use crate::host;

/// The runtime whose default profile RuntimeDefault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Containerd1,
    Containerd2,
    CriO,
}

impl Runtime {
    pub const ALL: [Runtime; 3] = [Runtime::Containerd1, Runtime::Containerd2, Runtime::CriO];

    /// Extracted by xtask from Debian's packages.
    fn profile(self) -> &'static str {
        match self {
            Runtime::Containerd1 => "/lib/seccomp/containerd-1.7.json",
            Runtime::Containerd2 => "/lib/seccomp/containerd-2.json",
            Runtime::CriO => "/lib/seccomp/crio.json",
        }
    }
}

pub fn of(pod: &Pod, capabilities: &[String]) -> Result<Value> {
    let wanted = &pod.template["securityContext"]["seccompProfile"];
    let read = |path: &str| -> Result<Value> {
        let text = fs::read(path).with_context(|| path.to_owned())?;
        serde_json::from_slice(&text).with_context(|| path.to_owned())
    };
    match (wanted["type"].as_str(), wanted["localhostProfile"].as_str()) {
        (Some("RuntimeDefault"), None) => {
            filter(&read(pod.runtime.profile())?, capabilities, &host::kernel()?)
        }
        (Some("Localhost"), Some(name)) => read(&format!("/lib/kubelet/seccomp/{name}")),
        _ => bail!("unknown seccomp profile: {wanted}"),
    }
}

fn filter(profile: &Value, capabilities: &[String], release: &str) -> Result<Value> {
    let rules = profile["syscalls"].as_array().context("no rules")?;
    let mut filter = json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures(profile)?,
    });
    let mut left = Vec::new();
    for rule in rules {
        if applies(rule, capabilities, release)? {
            left.push(of_rule(rule)?);
        }
    }
    filter["syscalls"] = left.into();
    Ok(filter)
}

/// The rule without its conditions.
fn of_rule(rule: &Value) -> Result<Value> {
    let mut made = json!({"names": rule["names"], "action": rule["action"]});
    ensure!(rule["action"].is_string() && rule["names"].is_array(), "no rule: {rule}");
    if rule["args"].as_array().is_some_and(|args| !args.is_empty()) {
        made["args"] = rule["args"].clone();
    }
    if rule["errnoRet"].is_number() {
        made["errnoRet"] = rule["errnoRet"].clone();
    }
    Ok(made)
}

/// The native architecture and its subarchitectures.
fn architectures(profile: &Value) -> Result<Vec<Value>> {
    const NATIVE: &str = "SCMP_ARCH_X86_64";
    if let Some(list) = profile["architectures"].as_array() {
        return Ok(list.clone());
    }
    let mut map = profile["archMap"].as_array().into_iter().flatten();
    let ours = map.find(|it| it["architecture"] == NATIVE).context("not for this architecture")?;
    let others = ours["subArchitectures"].as_array().into_iter().flatten().cloned();
    Ok(std::iter::once(json!(NATIVE)).chain(others).collect())
}

/// All `includes` hold and no `excludes` does.
fn applies(rule: &Value, capabilities: &[String], release: &str) -> Result<bool> {
    const KNOWN: [&str; 3] = ["arches", "caps", "minKernel"];
    for part in ["includes", "excludes"] {
        let named = rule[part].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let unknown: Vec<&str> = named.filter(|name| !KNOWN.contains(name)).collect();
        ensure!(unknown.is_empty(), "unknown conditions: {unknown:?}");
    }
    let list = |part: &str, name: &str| -> Vec<String> {
        let names = rule[part][name].as_array().into_iter().flatten();
        names.filter_map(|it| Some(it.as_str()?.to_owned())).collect()
    };
    let has = |name: &String| capabilities.contains(name);
    let arches = list("includes", "arches");
    let new_enough = |least: &Value| -> Result<bool> {
        let Some(least) = least.as_str() else { return Ok(true) };
        Ok(numbers(release)? >= numbers(least)?)
    };
    Ok((arches.is_empty() || arches.iter().any(|arch| arch == "amd64"))
        && !list("excludes", "arches").iter().any(|arch| arch == "amd64")
        && list("includes", "caps").iter().all(has)
        && !list("excludes", "caps").iter().any(has)
        && new_enough(&rule["includes"]["minKernel"])?)
}

fn numbers(version: &str) -> Result<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().context("no version")?.context("no version");
    Ok((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filter: &Value) -> String {
        let rules = filter["syscalls"].as_array().unwrap().iter();
        rules.map(|it| it["names"][0].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_rule_counts_whose_conditions_hold() {
        let rule = |name: &str, includes: Value, excludes: Value| json!({"names": [name], "action": "SCMP_ACT_ERRNO", "args": [], "errnoRet": 1, "includes": includes, "excludes": excludes});
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "syscalls": [
                rule("all", json!({}), json!({})),
                rule("bpf", json!({"caps": ["CAP_BPF"]}), json!({})),
                rule("both", json!({"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}), json!({})),
                rule("not_admin", json!({}), json!({"caps": ["CAP_SYS_ADMIN"]})),
                rule("not_bpf", json!({}), json!({"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]})),
                rule("amd64", json!({"arches": ["amd64"]}), json!({})),
                rule("s390", json!({"arches": ["s390x"]}), json!({})),
                rule("old", json!({"minKernel": "4.8"}), json!({})),
                rule("new", json!({"minKernel": "6.13"}), json!({})),
            ],
        });
        let made = filter(&profile, &["CAP_BPF".to_owned()], "6.12.95+deb13-amd64").unwrap();
        assert_eq!(names(&made), "all bpf not_admin amd64 old");
        assert_eq!(made["defaultErrnoRet"], 38);
        assert_eq!(made["syscalls"][0]["errnoRet"], 1, "what it answers is kept");
        assert_eq!(made["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        let unknown = json!({"syscalls": [rule("unknown", json!({"moon": "full"}), json!({}))],
                         "architectures": []});
        assert!(filter(&unknown, &[], "6.12.1").is_err());
    }
}
