//! # A Prometheus for the rig or simulated agents
//!
//! It listens on 127.0.0.1 only, stores data below target/, and ends with xtask.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::setup::Prometheus;
use crate::{process, project};

/// How long a start or an answer may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// What to start.
pub struct Settings<'a> {
    pub packages: &'a Prometheus,
    /// Distinguishes its files from other servers'.
    pub name: &'a str,
    pub config: &'a str,
    pub port: u16,
    pub options: &'a [&'a str],
}

/// Runs until this is dropped.
pub struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// One series and its value now.
pub struct Sample {
    pub labels: Value,
    pub value: f64,
}

impl Server {
    pub fn start(settings: &Settings) -> Result<Self> {
        let port = settings.port;
        // Otherwise another server there would be taken for ours.
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("127.0.0.1:{port} is taken"))?;
        let folder = folder(settings.name);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let config = folder.join("prometheus.yml");
        fs::write(&config, settings.config)?;
        let log = folder.with_extension("log");
        // Debian's build looks for its pages in /usr/share: mount them in its own namespace.
        const RUN: &str =
            r#"mount --bind "$0/usr/share" /usr/share && exec "$0/usr/bin/prometheus" "$@""#;
        let mut command = process::contained("sh");
        command.args(["-c", RUN]).arg(settings.packages.root());
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data(settings.name).display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.args(settings.options);
        Self::spawn(command, "Prometheus", port, log)
    }

    /// Starts a server with Prometheus' API.
    pub fn spawn(mut command: Command, what: &str, port: u16, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot run {what}"))?;
        let mut server = Self { child, port, log };
        server.wait(what)?;
        Ok(server)
    }

    fn wait(&mut self, what: &str) -> Result<()> {
        let start = Instant::now();
        while get(&format!("http://127.0.0.1:{}/-/ready", self.port)).is_err() {
            let ended = self.child.try_wait()?.is_some();
            if ended || start.elapsed() > START_TIMEOUT {
                let text = fs::read_to_string(&self.log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("no output");
                bail!("{what} does not start: {last} (full log: {})", self.log.display());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Evaluates an expression now.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let address = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let answer = ureq::get(address).config().http_status_as_error(false);
        let answer = answer.timeout_global(Some(START_TIMEOUT)).build();
        let mut answer = answer.query("query", expression).call()?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        let Some(result) = result.filter(|_| answer["status"] == "success") else {
            bail!("{expression}: {}", answer["error"]);
        };
        let sample = |series: &Value| {
            let value = series.pointer("/value/1")?.as_str()?.parse().ok()?;
            Some(Sample { labels: series["metric"].clone(), value })
        };
        Ok(result.iter().filter_map(sample).collect())
    }

    /// Its own metrics.
    pub fn metrics(&self) -> Result<String> {
        get(&format!("http://127.0.0.1:{}/metrics", self.port))
    }

    /// Writes a block of all samples, and returns its folder's name. Needs --web.enable-admin-api.
    pub fn snapshot(&self) -> Result<String> {
        let address = format!("http://127.0.0.1:{}/api/v1/admin/tsdb/snapshot", self.port);
        let post = ureq::post(address).config().timeout_global(Some(START_TIMEOUT)).build();
        let answer: Value = serde_json::from_str(&post.send_empty()?.body_mut().read_to_string()?)?;
        Ok(answer.pointer("/data/name").and_then(Value::as_str).context("no snapshot")?.to_owned())
    }

    /// The single value of an expression.
    pub fn number(&self, expression: &str) -> Result<f64> {
        let samples = self.query(expression)?;
        samples
            .first()
            .map(|sample| sample.value)
            .with_context(|| format!("{expression} has no value yet"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder(name: &str) -> PathBuf {
    project::logs().join(format!("prometheus-{name}"))
}

/// The data of the server with this name.
pub fn data(name: &str) -> PathBuf {
    folder(name).join("data")
}

/// The body of a 200 response.
fn get(address: &str) -> Result<String> {
    let mut answer = ureq::get(address)
        .config()
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .call()
        .with_context(|| address.to_owned())?;
    Ok(answer.body_mut().read_to_string()?)
}

/// dashboards/prometheus.yml for other targets, scraped and evaluated that often.
pub fn config(targets: &[String], interval: &str) -> Result<String> {
    let folder = project::root().join("dashboards");
    let path = folder.join("prometheus.yml");
    let config = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    replaced(
        config,
        &[
            ("rules/*.yml", &folder.join("rules/*.yml").display().to_string()),
            ("[\"127.0.0.1:9940\"]", &serde_json::to_string(targets)?),
            ("15s", interval),
        ],
    )
}

/// Replaces words, all of which must occur in the text.
pub fn replaced(mut text: String, words: &[(&str, &str)]) -> Result<String> {
    for (old, new) in words {
        if !text.contains(old) {
            bail!("a configuration in dashboards/ has no {old}, which is to be replaced");
        }
        text = text.replace(old, new);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_started_configuration_differs_only_in_its_targets() {
        let config = config(&["127.0.0.1:1".into(), "localhost:1".into()], "1s").unwrap();
        assert!(config.contains(r#"targets: ["127.0.0.1:1","localhost:1"]"#), "{config}");
        assert!(config.contains("scrape_interval: 1s"), "{config}");
        assert!(replaced(config, &[("no such word", "x")]).is_err());
    }
}
