//! # VictoriaMetrics as a receiver

use std::fs;

use anyhow::{Context, Result};

use crate::prometheus::Server;
use crate::{port, process, project, setup};

/// Starts it; returns its port, too.
pub fn start() -> Result<(u16, Server)> {
    let port = port::free()?;
    let data = project::logs().join("victoria-metrics");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("cannot empty {}", data.display()))?;
    }
    let program = setup::victoria_metrics()?.join("usr/bin/victoria-metrics");
    let mut command = process::contained(&program.display().to_string());
    command.arg(format!("-storageDataPath={}", data.display()));
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    // It answers with values of now, not of 30 s ago.
    command.args(["-search.latencyOffset=0s", "-memory.allowedPercent=10"]);
    let log = data.with_extension("log");
    Ok((port, Server::spawn(command, "VictoriaMetrics", port, log)?))
}
