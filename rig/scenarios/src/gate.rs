//! # The gate
//!
//! The kernel module that lets an LSM program decide; here as users load and read it.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::host;

const PARAMETERS: &str = "/sys/module/guestreq_gate/parameters";

/// A loaded gate; removed when dropped.
pub struct Gate {
    loaded: bool,
}

/// What the gate counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounts {
    pub admitted: u64,
    pub denied: u64,
    pub busy: u64,
    pub unanswered: u64,
}

impl GateCounts {
    pub fn sum(&self) -> u64 {
        self.admitted + self.denied + self.busy + self.unanswered
    }
}

impl Gate {
    pub fn load(parameters: &[&str]) -> Result<Gate> {
        host::insmod("guestreq_gate", parameters)?;
        Ok(Gate { loaded: true })
    }

    /// Loaded by another command.
    pub fn load_by(insmod: &mut Command) -> Result<Gate> {
        let output = insmod.output().with_context(|| format!("{insmod:?}"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{insmod:?}: {}", stderr.trim());
        Ok(Gate { loaded: true })
    }

    pub fn remove(mut self) -> Result<()> {
        self.loaded = false;
        host::rmmod("guestreq_gate")
    }

    pub fn path(parameter: &str) -> String {
        format!("{PARAMETERS}/{parameter}")
    }

    pub fn get(&self, parameter: &str) -> Result<String> {
        let text = fs::read_to_string(Gate::path(parameter)).context(parameter.to_owned())?;
        Ok(text.trim_end().to_owned())
    }

    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        fs::write(Gate::path(parameter), value).with_context(|| format!("{parameter} = {value}"))
    }

    pub fn counts(&self) -> Result<GateCounts> {
        let count = |name: &str| self.get(name)?.parse().context(name.to_owned());
        Ok(GateCounts {
            admitted: count("admitted")?,
            denied: count("denied")?,
            busy: count("busy")?,
            unanswered: count("unanswered")?,
        })
    }

    /// The result of a self-test with this nonce.
    pub fn self_test(&self, nonce: u64) -> Result<String> {
        self.set("self_test", &nonce.to_string())?;
        self.get("self_test")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.loaded {
            let _ = host::rmmod("guestreq_gate");
        }
    }
}
