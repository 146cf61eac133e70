//! # A pod: an object's template and its ConfigMaps, in the runtime's terms

mod container;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::manifest::{list, only, text};
use crate::messages::sandbox::{LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata};
use crate::security;

/// Without effect on one node: who may run where, and what the API server does with it.
const OF_THE_CLUSTER: [&str; 8] = [
    "serviceAccountName",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "priorityClassName",
    "nodeSelector",
    "nodeName",
    "tolerations",
    "restartPolicy",
];
const SPEC: [&str; 6] = [
    "hostPID",
    "terminationGracePeriodSeconds",
    "securityContext",
    "initContainers",
    "containers",
    "volumes",
];
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// The pod's specification; a test may change it before it starts the pod.
    pub spec: Value,
    /// Devices that a device plugin gives its containers.
    pub devices: Vec<String>,
    /// ConfigMaps' data by name.
    pub config_maps: HashMap<String, Value>,
}

impl Pod {
    /// A pod of the object of this kind among those that kubectl renders.
    pub fn of(objects: &[Value], kind: &str, name: &str, uid: &str) -> Result<Pod> {
        let object = objects.iter().find(|object| object["kind"] == kind);
        let object = object.with_context(|| format!("no {kind}"))?;
        let maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
        let map =
            |map: &Value| Ok((text(&map["metadata"], "name")?.to_owned(), map["data"].clone()));
        let spec = object["spec"]["template"]["spec"].clone();
        only(&spec, "the pod", &[&SPEC[..], &OF_THE_CLUSTER[..]].concat())?;
        for container in list(&spec, "initContainers").chain(list(&spec, "containers")) {
            container::check(container)?;
        }
        Ok(Pod {
            name: name.to_owned(),
            namespace: text(&object["metadata"], "namespace")?.to_owned(),
            uid: uid.to_owned(),
            spec,
            devices: Vec::new(),
            config_maps: maps.map(map).collect::<Result<_>>()?,
        })
    }

    /// Seconds that its containers have to end.
    pub fn grace_period(&self) -> i64 {
        self.spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30)
    }

    /// The folder of its containers' logs.
    pub fn logs(&self) -> PathBuf {
        let Pod { namespace, name, uid, .. } = self;
        Path::new("/var/log/pods").join(format!("{namespace}_{name}_{uid}"))
    }

    /// Its cgroup, below the root.
    pub fn cgroup(&self) -> Result<String> {
        let lists = list(&self.spec, "initContainers").chain(list(&self.spec, "containers"));
        let all: Vec<&Value> = lists.map(|container| &container["resources"]).collect();
        let class = match all.iter().all(|resources| resources.is_null()) {
            true => "besteffort",
            false if all.iter().all(|it| it["limits"] == it["requests"]) => {
                bail!("a pod of class Guaranteed, which no manifest here has");
            }
            false => "burstable",
        };
        Ok(format!("/kubepods/{class}/pod{}", self.uid))
    }

    pub fn sandbox(&self) -> Result<PodSandboxConfig> {
        Ok(PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: self.name.clone(),
                uid: self.uid.clone(),
                namespace: self.namespace.clone(),
                attempt: 0,
            }),
            hostname: self.name.clone(),
            log_directory: self.logs().display().to_string(),
            labels: self.labels(),
            annotations: HashMap::new(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup()?,
                security_context: Some(security::of_sandbox(&self.spec)?),
                resources: None,
            }),
        })
    }

    fn labels(&self) -> HashMap<String, String> {
        let of = |key: &str, value: &str| (format!("io.kubernetes.pod.{key}"), value.to_owned());
        [of("name", &self.name), of("namespace", &self.namespace), of("uid", &self.uid)].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::container::ContainerConfig;
    use serde_json::json;

    fn objects(change: impl Fn(&mut Value)) -> Vec<Value> {
        let mut spec = json!({
            "hostPID": true,
            "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "agent", "image": "i:1", "args": ["agent"],
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["BPF"]}},
                "resources": {"requests": {"cpu": "20m"}, "limits": {"memory": "256Mi"}},
            }],
        });
        change(&mut spec);
        vec![json!({"kind": "Job", "metadata": {"namespace": "ns"},
                    "spec": {"template": {"spec": spec}}})]
    }

    fn made(change: impl Fn(&mut Value)) -> Result<ContainerConfig> {
        let pod = Pod::of(&objects(change), "Job", "a-1", "0-1")?;
        let nowhere = Path::new("/nowhere");
        pod.container(&pod.spec["containers"][0], nowhere, nowhere, &[])
    }

    #[test]
    fn a_container_is_what_its_manifest_says() {
        let made = made(|_| ()).unwrap();
        assert_eq!(made.envs[0].value, "a-1");
        let linux = made.linux.unwrap();
        let resources = linux.resources.unwrap();
        assert_eq!((resources.cpu_shares, resources.memory_limit_in_bytes), (20, 256 << 20));
        let security = linux.security_context.unwrap();
        let capabilities = security.capabilities.unwrap();
        assert_eq!(capabilities.add_capabilities, ["BPF"]);
        assert_eq!(capabilities.drop_capabilities, ["ALL"]);
        assert_eq!(security.namespace_options.unwrap().pid, 2, "the node's");
        assert!(!security.masked_paths.is_empty());
    }

    #[test]
    fn what_this_kubelet_does_not_know_is_an_error() {
        for (pointer, value) in [
            ("/hostNetwork", json!(true)),
            ("/containers/0/lifecycle", json!({})),
            ("/containers/0/securityContext/procMount", json!("Unmasked")),
            ("/containers/0/env/0/valueFrom", json!({"secretKeyRef": {}})),
            ("/securityContext/seccompProfile/type", json!("Localhost")),
        ] {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let changed = made(|spec| spec.pointer_mut(parent).unwrap()[key] = value.clone());
            assert!(changed.is_err(), "{pointer}");
        }
    }
}
