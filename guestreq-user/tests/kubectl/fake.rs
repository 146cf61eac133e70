//! # A fake kubectl
//!
//! A shell script that answers from files, first in PATH. It writes down its arguments, and how many
//! of it run at the same time.

#![expect(clippy::unwrap_used, reason = "a part of tests, which Clippy does not know")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Cluster {
    folder: TempDir,
}

/// `$1` is `get` or `exec`, `$2` the kind or the pod.
const SCRIPT: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 9
echo + >> runs
trap 'echo - >> runs' EXIT
echo "$*" >> calls
answer() {
    [ -f "$1.err" ] && cat "$1.err" >&2
    [ -f "$1.sh" ] && . "./$1.sh"
    [ -f "$1" ] && cat "$1"
    [ ! -f "$1.code" ] || exit "$(cat "$1.code")"
}
case "$1" in
get) [ -e "get-$2" ] || [ -e "get-$2.err" ] || { echo "error: the server doesn't have a resource type \"$2\"" >&2; exit 1; }
    answer "get-$2" ;;
exec) answer "exec-$2" ;;
*) echo "error: unknown command \"$1\"" >&2; exit 1 ;;
esac
"#;

impl Cluster {
    /// Of nodes with a pod each, whose agents have one VM.
    pub fn new(nodes: &[&str]) -> Result<Cluster> {
        let cluster = Cluster { folder: tempfile::tempdir()? };
        cluster.write("kubectl", SCRIPT);
        fs::set_permissions(cluster.path("kubectl"), fs::Permissions::from_mode(0o755))?;
        cluster.pods(nodes);
        for node in nodes {
            cluster.vms(node, &[&format!("vm-of-{node}")]);
        }
        cluster.daemon_set(nodes.len());
        Ok(cluster)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// That it prints this error and fails.
    pub fn fails(&self, what: &str, error: &str) {
        let _ = fs::remove_file(self.path(what));
        self.write(&format!("{what}.err"), error);
        self.write(&format!("{what}.code"), "1");
    }

    pub fn pods(&self, nodes: &[&str]) {
        let items: Vec<Value> = nodes.iter().map(|node| pod(node)).collect();
        self.write("get-pods", &json!({"items": items}).to_string());
    }

    pub fn daemon_set(&self, desired: usize) {
        let labels =
            json!({"app.kubernetes.io/name": "guestreq", "app.kubernetes.io/component": "agent"});
        let set = json!({
            "metadata": {"name": "guestreq"},
            "spec": {"template": {"metadata": {"labels": labels},
                                  "spec": {"nodeSelector": {"snp": "true"}}}},
            "status": {"desiredNumberScheduled": desired},
        });
        self.write("get-daemonsets", &json!({"items": [set]}).to_string());
    }

    /// The VMs of a node's agent; a label with a slash has a namespace.
    pub fn vms(&self, node: &str, labels: &[&str]) {
        let vms: Vec<Value> = labels.iter().map(|label| vm(label)).collect();
        let answer = json!({"window_seconds": 10.0, "vms": vms}).to_string();
        self.write(&format!("exec-pod-{node}"), &answer);
    }

    pub fn plugin(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-guestreq"));
        command.args(line.split_whitespace()).env("PATH", self.paths());
        command
    }

    fn paths(&self) -> String {
        let before = std::env::var("PATH").unwrap_or_default();
        format!("{}:{before}", self.folder.path().display())
    }

    pub fn run(&self, line: &str) -> Ran {
        let Output { status, stdout, stderr } = self.plugin(line).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The arguments of each call so far.
    pub fn calls(&self) -> Vec<String> {
        lines(&self.path("calls")).into_iter().map(|line| line.trim().to_owned()).collect()
    }

    /// How many ran at the same time, at most; a killed one counts from then on.
    pub fn most_at_once(&self) -> usize {
        let (mut running, mut most) = (0, 0);
        for line in lines(&self.path("runs")) {
            running = if line == "+" { running + 1 } else { running - 1 };
            most = most.max(running);
        }
        most
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What the plugin did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn pod(node: &str) -> Value {
    let running = json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}});
    json!({
        "metadata": {"name": format!("pod-{node}"), "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "containerStatuses": [{"name": "agent", "state": running}]},
    })
}

fn vm(label: &str) -> Value {
    let (namespace, name) = label.split_once('/').unwrap_or(("", label));
    json!({
        "vm": label, "name": name, "uuid": "", "vmm": "qemu", "namespace": namespace, "pod_uid": "",
        "pid": 7, "running": true, "requests": 3, "extended_requests": 0, "tio_requests": 0,
        "results": {"report": {"ok": 3}}, "vmpck": [3, 0, 0, 0, 0], "stage_seconds": {},
        "p50_seconds": null, "p99_seconds": null, "psp_seconds": {}, "sequence_anomalies": {},
        "rescued": 0, "lost_vmpcks": [], "vmpcks_lost": {}, "oldest_refused_seconds": null,
        "recent_requests_per_second": 0.0, "recent_psp_share": 0.0,
        "recent_messages_per_second": {}, "recent_decisions_per_second": {},
        "recent_p50_seconds": null, "recent_p99_seconds": null, "last_request_seconds_ago": null,
    })
}
