//! # Conditions and labels of the host
//!
//! As Node Problem Detector and Node Feature Discovery get them.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::host::wait_until;

const FOLDER: &str = "/tmp/features.d";
const FILE: &str = "/tmp/features.d/guestreq";

/// The folder, and the key that names a file in it.
pub fn config() -> Result<String> {
    fs::create_dir_all(FOLDER)?;
    Ok(format!("nfd_file = \"{FILE}\"\n"))
}

/// Whether `guestreq condition` and the file say that the agent is ready and enforces, or neither.
pub fn ensure_all(are_well: bool) -> Result<()> {
    for (condition, well) in [("ready", are_well), ("enforcing", are_well), ("psp-dead", true)] {
        let output = Command::new("/bin/guestreq").args(["condition", condition]).output()?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{condition}: {}", line.trim_end());
        ensure!(output.status.code() == Some(i32::from(!well)), "{:?}: {line}", output.status);
        ensure!(line.len() <= 80 && line.lines().count() == 1, "{line}");
    }
    let wanted = [("ready", are_well), ("enforcing", are_well), ("psp-dead", false)];
    wait_until("the labels are current", Duration::from_secs(10), || {
        let text = fs::read_to_string(FILE).unwrap_or_default();
        let prefix = "feature.node.kubernetes.io/guestreq";
        Ok(wanted
            .iter()
            .all(|(label, value)| text.contains(&format!("{prefix}-{label}={value}\n"))))
    })
    .with_context(|| fs::read_to_string(FILE).unwrap_or_default())?;
    ensure!(fs::read_dir(FOLDER)?.count() == 1, "another file is left");
    Ok(())
}

/// Without an agent nothing is known, and the file expires.
pub fn ensure_unknown() -> Result<()> {
    let output = Command::new("/bin/guestreq").args(["condition", "ready"]).output()?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(2), "{:?}: {line}", output.status);
    ensure!(line.starts_with("unknown: no agent answers at "), "{line}");
    ensure!(fs::read_to_string(FILE)?.contains("\n# +expiry-time=20"), "it does not expire");
    Ok(())
}
