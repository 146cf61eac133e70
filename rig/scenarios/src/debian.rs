//! # A complete Debian host
//!
//! Its own systemd, apt and kernel modules; rig/debian runs the scenarios as a unit. The host keeps
//! its disk when it is rebooted, and so what has been done.

use std::{fs, io::ErrorKind, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    host::{Firmware, run_command, wait_until},
    scenario::Needs,
};

/// Packages of two builds of guestreq.
pub const OLD: &str = "/run/rig/old";
pub const NEW: &str = "/run/rig/new";

/// The gate, built outside for this kernel.
pub const GATE: &str = "/run/rig/guestreq_gate.ko";

const STATE: &str = "/var/lib/rig";
/// An emulated machine is slow.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Which scenarios have run, on a host that scenarios may reboot.
pub struct Progress {
    done: Option<String>,
}

impl Progress {
    pub fn open(needs: Needs) -> Result<Progress> {
        if needs != Needs::Debian {
            return Ok(Progress { done: None });
        }
        fs::create_dir_all(STATE).context(STATE)?;
        Ok(Progress { done: Some(read(&done_file())?) })
    }

    pub fn has(&self, id: &str) -> bool {
        self.done.as_ref().is_some_and(|done| done.lines().any(|line| line == id))
    }

    pub fn add(&mut self, id: &str) -> Result<()> {
        let Some(done) = &mut self.done else { return Ok(()) };
        done.push_str(id);
        done.push('\n');
        fs::write(done_file(), done).context(STATE)
    }
}

fn done_file() -> String {
    format!("{STATE}/done")
}

/// The text of a file that need not exist.
fn read(path: &str) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.context(path.to_owned()),
    }
}

/// Keeps a note for after a reboot.
pub fn note(name: &str, text: &str) -> Result<()> {
    fs::write(format!("{STATE}/{name}"), text).context(name.to_owned())
}

/// A note; none has been kept if it is empty.
pub fn noted(name: &str) -> Result<String> {
    read(&format!("{STATE}/{name}"))
}

/// Reboots the host. The scenario is started again then, and has to note before that it was here.
pub fn reboot() -> Result<()> {
    println!("RIG: reboot");
    run_command("systemctl", &["reboot"])?;
    // This process is ended before.
    thread::sleep(LIMIT);
    bail!("the host has not rebooted")
}

/// Waits until Debian has loaded kvm_amd and ccp, and makes the firmware fast.
pub fn prepare() -> Result<()> {
    wait_until("udev has loaded ccp and kvm_amd", LIMIT, || {
        Ok(Path::new("/dev/sev").exists() && Path::new("/dev/kvm").exists())
    })?;
    Firmware::reset()
}

/// What a command prints; it must succeed, and end: most of all takes apt, which lets DKMS build.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=30s", "30m", program]).args(arguments);
    let output = command.output().context(program.to_owned())?;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let status = output.status;
    ensure!(
        status.success(),
        "{program} {arguments:?}: {status}: {} {}",
        end(&stdout),
        end(&stderr)
    );
    Ok(stdout.into_owned())
}

/// The last lines.
fn end(text: &str) -> String {
    let lines: Vec<_> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(10)..].join(" | ")
}
