//! # What the chart can do and kustomize leaves to patches
//!
//! Rendered with all of it, every object is valid, and each value arrives.

use anyhow::Result;
use serde_json::{Value, json};

use super::super::schema::Schemas;
use super::{folder, with};
use crate::helm::Helm;

const AGENT: &str = "DaemonSet/snp";
const POD: &str = "/spec/template/spec";
const CONFIG: &str = "  # indented\n\nmode = \"observe\"\n\
    nfd_file = \"/etc/kubernetes/node-feature-discovery/features.d/guestreq\"";

const FEATURES: &str = "/etc/kubernetes/node-feature-discovery/features.d";

fn values() -> Value {
    json!({
        "image": {"digest": digest(), "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "fullnameOverride": "snp",
        "config": CONFIG,
        "listen": "[::]:9000",
        "extraArgs": ["--without-probe", "name"],
        "nodeSelector": {"feature.node.kubernetes.io/cpu-security.sev.snp.enabled": null, "a": "b"},
        "tolerations": [{"key": "snp", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "mine",
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "podAnnotations": {"note": "1"},
        "podLabels": {"team": "2"},
        "updateStrategy": {"type": "OnDelete"},
        "serviceAccount": {"create": false, "name": "theirs"},
        "seccompProfile": {"type": "Unconfined"},
        "networkPolicy": {"enabled": false},
        "podMonitor": {"enabled": true, "labels": {"release": "3"}, "interval": "1m"},
        "prometheusRule": {"enabled": true, "labels": {"release": "4"}},
        "dashboards": {"enabled": true, "namespace": "grafana", "labels": {"grafana_dashboard": "5"}},
        "kmm": {
            "enabled": true, "image": "host/gate", "dockerfile": "FROM scratch", "sign": {"enabled": false},
        },
        "detachOnUninstall": false,
    })
}

fn digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

/// The object, the field, and what it must be; null for none.
fn wanted() -> Vec<(&'static str, String, Value)> {
    let image = json!(format!("registry.example.com/guestreq@{}", digest()));
    let pod = |field: &str, value: Value| (AGENT, format!("{POD}/{field}"), value);
    let of = |object, field: &str, value: Value| (object, format!("/{field}"), value);
    let gate = "spec/moduleLoader/container/kernelMappings/0";
    let version = env!("CARGO_PKG_VERSION");
    vec![
        pod("initContainers/0/image", image.clone()),
        pod("containers/0/image", image),
        pod("containers/0/imagePullPolicy", json!("Always")),
        // As the component nfd does.
        pod("containers/0/volumeMounts/7/mountPath", json!(FEATURES)),
        pod("volumes/7/hostPath", json!({"path": FEATURES, "type": "DirectoryOrCreate"})),
        pod("imagePullSecrets", json!([{"name": "registry"}])),
        pod("containers/0/args/3", json!("[::]:9000")),
        pod("containers/0/args/5", json!("name")),
        pod("containers/0/ports/0/containerPort", json!(9000)),
        pod("nodeSelector", json!({"a": "b"})),
        pod("tolerations", json!([{"key": "snp", "operator": "Exists"}])),
        pod("affinity", json!({"nodeAffinity": {}})),
        pod("priorityClassName", json!("mine")),
        pod("containers/0/resources/limits/memory", json!("1Gi")),
        pod("serviceAccountName", json!("theirs")),
        pod("securityContext/seccompProfile", json!({"type": "Unconfined"})),
        of(AGENT, "spec/template/metadata/annotations/note", json!("1")),
        of(AGENT, "spec/template/metadata/labels/team", json!("2")),
        of(AGENT, "spec/updateStrategy", json!({"type": "OnDelete"})),
        of("ConfigMap/snp", "data/config.toml", json!(CONFIG)),
        of("PodMonitor/snp", "metadata/labels/release", json!("3")),
        of("PodMonitor/snp", "spec/podMetricsEndpoints/0/interval", json!("1m")),
        of("PrometheusRule/snp-alerts", "metadata/labels/release", json!("4")),
        of("ConfigMap/snp-dashboard-node", "metadata/namespace", json!("grafana")),
        of("ConfigMap/snp-dashboard-node", "metadata/labels/grafana_dashboard", json!("5")),
        of(
            "Module/snp-gate",
            &format!("{gate}/containerImage"),
            json!(format!("host/gate:{version}-${{KERNEL_FULL_VERSION}}")),
        ),
        of("Module/snp-gate", &format!("{gate}/sign"), Value::Null),
        of("Module/snp-gate", "spec/selector", json!({"a": "b"})),
        of("ConfigMap/snp-gate-build", "data/dockerfile", json!("FROM scratch")),
        of("PriorityClass/snp", "", Value::Null),
        of("ServiceAccount/snp", "", Value::Null),
        of("NetworkPolicy/snp", "", Value::Null),
    ]
}

pub fn check(helm: &mut Helm, version: &str, schemas: &Schemas) -> Result<Vec<String>> {
    let objects = match helm.template(version, &folder(), &with(values()))? {
        Ok(objects) => objects,
        Err(error) => return Ok(vec![format!("{version}: with all options: {error}")]),
    };
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name =
        |object: &Value| format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]));
    let mut faults = Vec::new();
    for object in &objects {
        let of = |fault| format!("{version}: {}{fault}", name(object));
        faults.extend(schemas.faults(object).into_iter().map(of));
    }
    for (object, field, wanted) in wanted() {
        let object_found = objects.iter().find(|found| name(found) == object);
        let field = field.trim_end_matches('/');
        let found = object_found.and_then(|found| found.pointer(field)).unwrap_or(&Value::Null);
        if *found != wanted {
            faults.push(format!("{version}: {object}{field} is {found} instead of {wanted}"));
        }
    }
    Ok(faults)
}

/// NOTES.txt names the mode, and how to uninstall.
pub fn notes(helm: &mut Helm) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let enforce = json!({"config": "mode = \"enforce\"", "detachOnUninstall": false});
    for (set, wanted) in [
        (json!({}), ["mode audit:", "delete daemonset guestreq-detach"]),
        (enforce, ["mode enforce:", "run `guestreq detach` on each node"]),
    ] {
        let notes = helm.notes(&folder(), &with(set))?;
        let missing = wanted.iter().filter(|wanted| !notes.contains(**wanted));
        faults.extend(missing.map(|wanted| format!("NOTES.txt has no {wanted:?}: {notes}")));
    }
    Ok(faults)
}
