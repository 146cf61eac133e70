//! # Values that must not render
//!
//! Each gets an error that names the value; where the schema does not find it, a single line.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{folder, with};
use crate::helm::{Helm, Values};

/// What Helm's own message about the schema starts with.
const SCHEMA: &str = "values don't meet the specifications of the schema";
/// What precedes a message of the chart.
const CHART: &str = "execution error at (guestreq/templates/daemonset.yaml:1:4): ";

fn config(text: &str) -> Value {
    json!({"config": text})
}

fn memory(limit: impl Into<Value>, max_vms: u32) -> Value {
    let limit: Value = limit.into();
    json!({"config": format!("max_vms = {max_vms}"), "resources": {"limits": {"memory": limit}}})
}

/// Values that contradict each other, and what the chart's message must contain.
fn contradictions() -> Vec<(Value, &'static str)> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let label = json!({"podLabels": {"app.kubernetes.io/component": "x"}});
    vec![
        (json!({"image": {"repository": ""}}), "image.repository: set it"),
        (json!({"image": {"repository": "h:5000/g:1"}}), "image.repository: h:5000/g:1 has a tag"),
        (json!({"image": {"repository": "h/g@sha256:0"}}), "image.repository: h/g@sha256:0 has"),
        (json!({"image": {"tag": "1", "digest": digest}}), "image.tag and image.digest: 1 and sha"),
        (config("mode = \"enforce\"\nbackend = \"none\""), "config: `mode = \"enforce\"` and"),
        (
            config("backend = \"none\"\n[[vm]]\nmatch = { name = \"a\" }\nmode = \"enforce\"\n"),
            "config: `mode = \"enforce\"` and `backend = \"none\"` contradict each other",
        ),
        (config("mode = enforce"), "config: this is not TOML"),
        (config("listen = \"0.0.0.0:1\""), "config: its `listen` has no effect"),
        (config("order = \"off\""), "config: `order` needs CAP_SYS_ADMIN"),
        (config("state = \"/var/lib/other\""), "config: `state` is /var/lib/other"),
        (config("socket = \"/run/guestreq.sock\""), "config: `socket` is /run/guestreq.sock"),
        (
            config("nfd_file = \"/etc/guestreq\""),
            "config: `nfd_file` is /etc/guestreq, which is no",
        ),
        (config("backend = 1"), "config: `backend` must be text in quotes"),
        (config("nfd_file = [\"/x\"]"), "config: `nfd_file` must be text in quotes"),
        (config("vm = [1]"), "config: `vm` must be a list of rules"),
        (config("[vm]\nmode = \"audit\"\n"), "config: `vm` must be a list of rules"),
        (json!({"extraArgs": ["--stay"]}), "extraArgs: --stay is the chart's own"),
        (json!({"extraArgs": ["--listen=0.0.0.0:1"]}), "extraArgs: --listen is the chart's own"),
        (json!({"extraArgs": ["--without-probe x"]}), "\"--without-probe x\" is one argument"),
        (
            config("nfd_file = \"/etc/kubernetes/node-feature-discovery/features.d/.guestreq\""),
            "features.d/.guestreq, which is no file",
        ),
        (
            config("nfd_file = \"/etc/kubernetes/node-feature-discovery/features.d/\""),
            "features.d/, which is no file",
        ),
        (config("max_vms = 20000"), "config: `max_vms = 20000` needs more than"),
        (memory("512Mi", 40_000), "config: `max_vms = 40000` needs more than"),
        (memory("850M", 65_536), "config: `max_vms = 65536` needs more than"),
        (memory(41_943_040, 1), "needs more than resources.limits.memory, 41943040: 40Mi"),
        (json!({"listen": "127.0.0.1:9940"}), "listen: neither the kubelet's probes"),
        (json!({"listen": "[::1]:9940"}), "listen: neither the kubelet's probes"),
        (json!({"listen": "[0:0:0:0:0:0:0:1]:9940"}), "listen: neither the kubelet's probes"),
        (json!({"serviceAccount": {"name": "default"}}), "serviceAccount: default exists"),
        (json!({"fullnameOverride": "default"}), "serviceAccount: default exists"),
        (json!({"seccompProfile": {"type": "Localhost"}}), "seccompProfile.localhostProfile: type"),
        (json!({"seccompProfile": {"localhostProfile": "a.json"}}), "a.json is used only with"),
        (json!({"networkPolicy": {"from": []}}), "networkPolicy.from: an empty list"),
        (label, "podLabels: app.kubernetes.io/component is the chart's own"),
        (json!({"kmm": {"enabled": true, "sign": {"keySecret": ""}}}), "kmm.sign: it needs"),
        (json!({"kmm": {"image": "h:5000/gate:1"}}), "kmm.image: h:5000/gate:1 has a tag"),
        (json!({"kmm": {"dockerfile": "a", "sourceImage": "b"}}), "kmm.dockerfile and kmm.source"),
    ]
}

/// Values that the schema refuses, and where.
fn invalid() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"imagee": {}}), "'imagee' not allowed"),
        (json!({"image": {"digest": "latest"}}), "/image/digest"),
        (json!({"image": {"tag": 1}}), "/image/tag"),
        (json!({"image": {"pullPolicy": "always"}}), "/image/pullPolicy"),
        (json!({"config": {"mode": "audit"}}), "/config"),
        (json!({"listen": "9940"}), "/listen"),
        (json!({"listen": "0.0.0.0:0"}), "/listen"),
        (json!({"listen": "0.0.0.0:65536"}), "/listen"),
        (json!({"seccompProfile": {"type": "localhost"}}), "/seccompProfile/type"),
        (json!({"updateStrategy": {"type": "Recreate"}}), "/updateStrategy/type"),
        (json!({"updateStrategy": {"maxUnavailable": 0}}), "/updateStrategy/maxUnavailable"),
        (json!({"updateStrategy": {"maxUnavailable": "0%"}}), "/updateStrategy/maxUnavailable"),
        (json!({"tolerations": {"operator": "Exists"}}), "/tolerations"),
        (json!({"detachOnUninstall": "no"}), "/detachOnUninstall"),
    ]
}

pub fn check(helm: &mut Helm, version: &str) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (set, wanted) in contradictions() {
        let error = error_of(helm, version, with(set.clone()))?;
        let message = error.strip_prefix(CHART).unwrap_or_default();
        if !message.contains(wanted) || message.lines().count() != 1 {
            faults.push(format!("{version}: {set} gives {error:?} instead of {wanted:?}"));
        }
    }
    for (set, wanted) in invalid() {
        let error = error_of(helm, version, with(set.clone()))?;
        if !error.starts_with(SCHEMA) || !error.contains(wanted) {
            faults.push(format!("{version}: {set} gives {error:?} instead of {wanted:?}"));
        }
    }
    faults.extend(without_each(helm, version)?);
    Ok(faults)
}

/// A value that is empty in a values file, as `config:` alone, removes the default: it is either
/// not needed or named by an error.
fn without_each(helm: &mut Helm, version: &str) -> Result<Vec<String>> {
    let path = folder().join("values.yaml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut faults = Vec::new();
    for set in nulls(&serde_saphyr::from_str(&text)?) {
        let error = error_of(helm, version, with(set.clone()))?;
        if !error.is_empty() && !error.starts_with(SCHEMA) && !error.starts_with(CHART) {
            faults.push(format!("{version}: {set} gives {error:?}"));
        }
    }
    Ok(faults)
}

/// Null for each key of a map, and of the maps in it.
fn nulls(map: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for (key, value) in map.as_object().into_iter().flatten() {
        all.push(json!({key: null}));
        all.extend(nulls(value).into_iter().map(|below| json!({key: below})));
    }
    all
}

/// The error of a rendering, empty if there is none.
fn error_of(helm: &mut Helm, version: &str, values: Values) -> Result<String> {
    Ok(helm.template(version, &folder(), &values)?.err().unwrap_or_default())
}
