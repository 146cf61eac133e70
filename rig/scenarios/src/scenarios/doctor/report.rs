//! # What doctor finds

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{CONFIG, ENFORCE};

pub struct DoctorReport {
    code: Option<i32>,
    pub(super) json: Value,
}

impl DoctorReport {
    /// For a host that is configured to enforce.
    pub fn of_enforcing_host() -> Result<DoctorReport> {
        fs::write(CONFIG, ENFORCE).context(CONFIG)?;
        DoctorReport::get()
    }

    /// For the agents' configuration.
    pub fn get() -> Result<DoctorReport> {
        let mut command = Command::new("/bin/guestreq");
        DoctorReport::of(command.args(["doctor", "-o", "json", "--config", CONFIG]))
    }

    pub fn of(command: &mut Command) -> Result<DoctorReport> {
        let output = command.output().context("guestreq doctor")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(stderr.is_empty(), "standard error: {stderr}");
        let json = serde_json::from_slice(&output.stdout).context("doctor's JSON")?;
        Ok(DoctorReport { code: output.status.code(), json })
    }

    pub fn ids(&self, state: &str) -> Vec<&str> {
        let checks = self.json["checks"].as_array().into_iter().flatten();
        let of_state = checks.filter(|check| check["state"] == state);
        of_state.filter_map(|check| check["id"].as_str()).collect()
    }

    /// A check is in this state, and its finding or fix contains `part`.
    pub fn says(&self, id: &str, state: &str, part: &str) -> Result<()> {
        let mut checks = self.json["checks"].as_array().into_iter().flatten();
        let check = checks.find(|check| check["id"] == id).context(id.to_owned())?;
        let text = format!("{} {}", check["why"], check["fix"]);
        ensure!(check["state"] == state && text.contains(part), "{check}");
        Ok(())
    }

    pub fn exits(&self, code: i32) -> Result<()> {
        ensure!(self.code == Some(code), "exit {:?}: {}", self.code, self.json);
        Ok(())
    }
}
