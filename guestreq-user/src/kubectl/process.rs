//! # Running kubectl
//!
//! Output and time are bounded. A kubectl that is no longer waited for is killed.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Result, anyhow};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

use super::failure::{self, Failure};

/// Bytes of a list of objects, of a node's answer, and of error messages.
const MOST_LISTED: u64 = 256 << 20;
const MOST_ANSWERED: u64 = 32 << 20;
const MOST_ERRORS: u64 = 64 << 10;
/// For lists, which may be long.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Kubectl {
    /// For the connection to the cluster.
    pub options: Vec<String>,
    pub namespace: String,
    pub selector: String,
    /// For a node's answer.
    pub timeout: Duration,
}

/// What a kubectl printed.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Output {
    /// Why it did not succeed.
    pub fn failure(&self) -> Failure {
        match self.stderr.trim() {
            "" => Failure::Other(format!("kubectl gave no reason ({})", self.status)),
            stderr => failure::of(stderr),
        }
    }
}

impl Kubectl {
    pub const PROGRAM: &str = "kubectl";

    /// `kubectl get`; the answer's text.
    pub async fn get(&self, what: &[&str]) -> Result<Vec<u8>, Failure> {
        let mut words = vec!["get".to_owned()];
        words.extend(what.iter().map(|word| (*word).to_owned()));
        words.extend(self.options.iter().cloned());
        let output = run(&words, LIST_TIMEOUT, MOST_LISTED).await?;
        if output.status.success() { Ok(output.stdout) } else { Err(output.failure()) }
    }

    /// `--namespace`, for requests of namespaced objects.
    pub fn in_namespace(&self) -> String {
        format!("--namespace={}", self.namespace)
    }

    /// `kubectl exec` in the agent's container of a pod.
    pub fn exec_words(&self, pod: &str, terminal: &[&str], command: &[String]) -> Vec<String> {
        let mut words = vec!["exec".to_owned(), pod.to_owned(), self.in_namespace()];
        words.push("--container=agent".to_owned());
        words.extend(terminal.iter().map(|word| (*word).to_owned()));
        words.extend(self.options.iter().cloned());
        words.extend(["--".to_owned(), "/guestreq".to_owned()]);
        words.extend(command.iter().cloned());
        words
    }

    /// Runs a command in a pod, within the timeout for a node's answer.
    pub async fn ask(&self, pod: &str, command: &[String]) -> Result<Output, Failure> {
        run(&self.exec_words(pod, &[], command), self.timeout, MOST_ANSWERED).await
    }
}

async fn run(words: &[String], limit: Duration, most: u64) -> Result<Output, Failure> {
    match tokio::time::timeout(limit, output(words, most)).await {
        Err(_) => Err(Failure::TimedOut(limit)),
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(not_run(&error)),
    }
}

async fn output(words: &[String], most: u64) -> io::Result<Output> {
    let mut child = Command::new(Kubectl::PROGRAM)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(bounded(stdout, most), drained(stderr))?;
    let status = child.wait().await?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Output { status, stdout, stderr })
}

async fn bounded(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(from) = from else { return Ok(bytes) };
    from.take(most + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("its answer exceeds {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// The beginning; the rest is read and dropped, so that nobody waits to write it.
async fn drained(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut from) = from else { return Ok(bytes) };
    (&mut from).take(MOST_ERRORS).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// Why kubectl could not be started.
pub fn not_run(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::NoKubectl,
        _ => Failure::Other(error.to_string()),
    }
}

/// That nothing could be asked.
impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> anyhow::Error {
        anyhow!("{}", failure.of_cluster())
    }
}
