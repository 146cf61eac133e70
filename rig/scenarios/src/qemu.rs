//! # Debian's QEMU as the VMM of an SNP guest
//!
//! The program as an operator has it. Its guest is snpsim's: it follows a script in its firmware
//! image, and writes each answer as a letter ([`crate::letters`]).

mod machine;
mod qmp;

use std::{
    fs,
    process::{Child, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
pub use machine::{Machine, QEMU_10, QEMU_11};
use qmp::Qmp;
use serde_json::Value;

use crate::{agent, children, flash::Script, host::wait_until, letters::Letters};

/// An emulated machine is slow.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running QEMU; killed when dropped.
pub struct Qemu {
    pub name: String,
    pub uuid: String,
    process: Process,
    qmp: Qmp,
}

/// QEMU's process, which may not have a monitor yet: it has one once its VM is launched. Killed when
/// dropped.
pub struct Process {
    child: Child,
    /// Of its files, without an extension.
    path: String,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn file(&self, extension: &str) -> String {
        format!("{}.{extension}", self.path)
    }

    /// What a vCPU of its guest has written.
    fn letters(&self, vcpu: u8) -> Letters {
        machine::letters(&self.path, vcpu)
    }

    /// What QEMU has printed.
    pub fn log(&self) -> Result<String> {
        let path = self.file("log");
        fs::read_to_string(&path).context(path)
    }

    /// The end of its log, without features that the emulated processor lacks.
    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<_> =
            log.lines().filter(|line| !line.contains("requested feature")).collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }

    /// Fails if it has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("QEMU")? {
            bail!("QEMU has ended ({status}): {}", self.log_tail());
        }
        Ok(())
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        agent::signal(self.pid(), libc::SIGKILL)?;
        self.wait().map(drop)
    }

    /// Waits until it has exited.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        children::wait(&mut self.child, "QEMU", TIMEOUT)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        children::kill(&mut self.child, "QEMU");
    }
}

impl Qemu {
    /// Starts a VM of this name, whose guest follows the script.
    pub fn start(name: &str, script: &Script) -> Result<Qemu> {
        Machine::new(name, script)?.start()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The answers that its guest has got: its first vCPU.
    pub fn letters(&self) -> Result<String> {
        self.letters_of(0)
    }

    /// The answers that a vCPU has got.
    pub fn letters_of(&self, vcpu: u8) -> Result<String> {
        self.process.letters(vcpu).read()
    }

    /// How many answers were of this kind.
    pub fn count(&self, letter: char) -> Result<u64> {
        self.process.letters(0).count(letter)
    }

    /// Waits for letters; fails if QEMU ends.
    pub fn wait_for(&mut self, what: &str, so: impl FnMut(&str) -> bool) -> Result<String> {
        let (process, what) = (&mut self.process, format!("{} has {what}", self.name));
        let waited = process.letters(0).wait_for(&what, TIMEOUT, || process.still_runs(), so);
        waited.with_context(|| self.process.log_tail())
    }

    /// Waits until so many more requests have been answered without an error.
    pub fn wait_for_answers(&mut self, more: u64) -> Result<()> {
        let answered = self.process.letters(0).more_answers(more)?;
        self.wait_for(&format!("{more} more answers"), answered).map(drop)
    }

    /// Executes a command without arguments of QMP.
    pub fn execute(&mut self, command: &str) -> Result<Value> {
        self.qmp.execute(command).with_context(|| self.name.clone())
    }

    /// Its state as QEMU names it, such as running, paused or internal-error.
    pub fn status(&mut self) -> Result<String> {
        let answer = self.execute("query-status")?;
        Ok(answer["status"].as_str().context("a status")?.to_owned())
    }

    /// Waits for a state.
    pub fn wait_for_status(&mut self, wanted: &str) -> Result<()> {
        let what = format!("{} is {wanted}", self.name);
        wait_until(&what, TIMEOUT, || Ok(self.status()? == wanted))
    }

    /// QEMU's version, such as 10.0.13.
    pub fn version(&self) -> &str {
        self.qmp.version()
    }

    /// What QEMU has printed.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// Sends SIGKILL.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }

    /// Waits until it has exited.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait().with_context(|| self.name.clone())
    }
}
