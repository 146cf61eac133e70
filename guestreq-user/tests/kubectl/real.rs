//! # The real kubectl
//!
//! Whether it takes the plugin's arguments, against an API server of a few lines. It needs no cluster.

#![expect(clippy::unwrap_used, reason = "a part of tests, which Clippy does not know")]

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::fake::pod;

/// Names a real kubectl; `cargo xtask test` sets it.
const KUBECTL: &str = "GUESTREQ_TEST_KUBECTL";

#[test]
fn the_real_kubectl_takes_each_argument() -> Result<()> {
    let Some(kubectl) = env::var_os(KUBECTL) else {
        eprintln!("{KUBECTL} is not set: not tested");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(kubectl, folder.path().join("kubectl"))?;
    let server = Server::start()?;
    let run = |line: &str| plugin(folder.path(), &server.url, line);
    // Everything up to the connection to the container, which the server refuses.
    let (code, stderr) = run("vms --all-nodes")?;
    assert_eq!(code, Some(3), "{stderr}");
    ensure!(
        stderr.contains("n1: ") && stderr.contains("this server has no containers"),
        "{stderr}"
    );
    ensure!(stderr.contains("n2: it has no pod of the agent"), "{stderr}");
    let (_, stderr) = run("vms --node n1")?;
    ensure!(stderr.contains("this server has no containers"), "{stderr}");
    let (_, stderr) = run("limit set --vm prod/web-1 --share 10%")?;
    ensure!(stderr.contains("this server has no containers"), "{stderr}");
    let (_, stderr) = run("limit set --vm prod/gone --share 10%")?;
    ensure!(stderr.contains("KubeVirt has no VirtualMachineInstance prod/gone"), "{stderr}");
    let (_, stderr) = run("vms --all-nodes -n other")?;
    ensure!(stderr.contains("not permitted: Error from server (Forbidden)"), "{stderr}");
    let asked = server.asked();
    for wanted in [
        "/api/v1/namespaces/guestreq/pods?labelSelector=app.kubernetes.io%2Fname%3Dguestreq%2C",
        "fieldSelector=spec.nodeName%3Dn1",
        "/api/v1/nodes?labelSelector=snp%3Dtrue",
        "/exec?command=%2Fguestreq&command=vms&command=--output&command=json&container=agent&stderr=true&stdout=true",
        "command=%2Fguestreq&command=limit&command=set&command=--share&command=10%25&command=--vm%3Dprod%2Fweb-1",
    ] {
        ensure!(
            asked.iter().any(|path| path.contains(wanted)),
            "{wanted} was not asked: {asked:#?}"
        );
    }
    // Nobody listens there.
    let (code, stderr) = plugin(folder.path(), "http://127.0.0.1:9", "vms --all-nodes")?;
    ensure!(code == Some(1) && stderr.contains("kubectl reaches no cluster"), "{stderr}");
    Ok(())
}

fn plugin(folder: &Path, url: &str, line: &str) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-guestreq"));
    command.args(line.split(' ')).args(["--server", url, "--cache-dir"]).arg(folder.join("cache"));
    // Nothing of this machine's user.
    command.env("PATH", folder).env("KUBECONFIG", "/dev/null").env("HOME", folder);
    let output = command.output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// What the plugin asks of an API server; it refuses to run commands.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                thread::spawn(move || serve(&stream, &log));
            }
        });
        Ok(Server { url, asked })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request, then the connection is closed.
fn serve(stream: &TcpStream, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (status, body) = answer(&path);
    log.lock().unwrap().push(path);
    let body = body.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()
}

fn answer(path: &str) -> (u16, Value) {
    let kinds = |group: &str, names: &[(&str, &str)]| {
        let kind = |(name, kind): &(&str, &str)| {
            json!({"name": name, "singularName": "", "namespaced": *name != "nodes", "kind": kind,
                   "verbs": ["get", "list", "create"]})
        };
        let all: Vec<Value> = names.iter().map(kind).collect();
        (
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": all}),
        )
    };
    let list = |kind: &str, api: &str, items: Value| {
        (200, json!({"kind": kind, "apiVersion": api, "metadata": {}, "items": items}))
    };
    let failed = |code: u16, reason: &str, message: &str| {
        (
            code,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message}),
        )
    };
    let group = |name: &str, version: &str| {
        let one = json!({"groupVersion": format!("{name}/{version}"), "version": version});
        json!({"name": name, "versions": [one], "preferredVersion": one})
    };
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    match path {
        "/api" => (200, json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => {
            let groups = [group("apps", "v1"), group("kubevirt.io", "v1")];
            (200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/api/v1" => kinds("v1", &[("pods", "Pod"), ("nodes", "Node")]),
        "/apis/apps/v1" => kinds("apps/v1", &[("daemonsets", "DaemonSet")]),
        "/apis/kubevirt.io/v1" => {
            kinds("kubevirt.io/v1", &[("virtualmachineinstances", "VirtualMachineInstance")])
        }
        "/api/v1/namespaces/guestreq/pods" => list("PodList", "v1", json!([full_pod()])),
        "/api/v1/namespaces/guestreq/pods/pod-n1" => (200, full_pod()),
        "/apis/apps/v1/namespaces/guestreq/daemonsets" => {
            let cluster: Value = json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "guestreq"},
                "spec": {"template": {"metadata": {"labels": {"app.kubernetes.io/name": "guestreq",
                    "app.kubernetes.io/component": "agent"}}, "spec": {"nodeSelector": {"snp": "true"}}}},
                "status": {"desiredNumberScheduled": 2},
            });
            list("DaemonSetList", "apps/v1", json!([cluster]))
        }
        "/api/v1/nodes" => {
            let node =
                |name| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
            list("NodeList", "v1", json!([node("n1"), node("n2")]))
        }
        "/apis/kubevirt.io/v1/namespaces/prod/virtualmachineinstances/web-1" => (
            200,
            json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
                "metadata": {"name": "web-1", "namespace": "prod"}, "status": {"nodeName": "n1"}}),
        ),
        path if path.starts_with("/api/v1/namespaces/other/") => {
            failed(403, "Forbidden", "pods is forbidden: User \"u\" cannot list resource \"pods\"")
        }
        path if path.ends_with("/exec") => {
            failed(500, "InternalError", "this server has no containers")
        }
        _ => failed(404, "NotFound", "not found"),
    }
}

fn full_pod() -> Value {
    let mut pod = pod("n1");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["namespace"] = json!("guestreq");
    pod["spec"]["containers"] = json!([{"name": "agent", "image": "x"}]);
    pod
}
