//! # Debian's QEMU as the VMM of an SNP guest
//!
//! The program as an operator has it. Its guest is snpsim's: it follows a script in its firmware
//! image, and tells each answer as a letter.

mod qmp;

use std::{
    fs::{self, File},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use qmp::Qmp;
use serde_json::Value;

use crate::{
    agent,
    flash::{self, Script},
    host::wait_until,
};

const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";
const FOLDER: &str = "/tmp/qemu";
/// An emulated machine is slow.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The C bit's position is compared with CPUID's. The emulated processor has no such leaf and
/// answers with another, which says 8; on hardware it is 51.
const SNP: &str = "sev-snp-guest,id=sev,cbitpos=8,reduced-phys-bits=1";

/// A running QEMU; killed when dropped.
pub struct Qemu {
    pub name: String,
    pub uuid: String,
    /// Of its files, without an extension.
    path: String,
    child: Child,
    qmp: Qmp,
}

impl Qemu {
    /// Starts a VM of this name, whose guest follows the script.
    pub fn start(name: &str, script: &Script) -> Result<Qemu> {
        static STARTED: AtomicU32 = AtomicU32::new(1);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let uuid = format!("5e71c0de-0000-4000-8000-{number:012x}");
        fs::create_dir_all(FOLDER).context(FOLDER)?;
        let path = format!("{FOLDER}/{name}-{number}");
        let file = |extension| format!("{path}.{extension}");
        fs::write(file("fd"), flash::image(script)?).context("a firmware image")?;
        let log = File::create(file("log")).context("QEMU's log")?;
        let mut child = Command::new(PROGRAM)
            .args(["-name", name, "-uuid", &uuid, "-m", "64", "-bios", &file("fd")])
            .args(["-accel", "kvm", "-cpu", "EPYC-v4", "-object", SNP])
            .args(["-machine", "q35,confidential-guest-support=sev"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-chardev", &format!("file,id=letters,path={}", file("letters"))])
            .args(["-device", "isa-debugcon,iobase=0x402,chardev=letters"])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", file("qmp"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("QEMU's log")?)
            .stderr(log)
            .spawn()
            .context(PROGRAM)?;
        let mut qmp = None;
        let connected = wait_until("QEMU has a monitor", TIMEOUT, || {
            if let Some(status) = child.try_wait().context("QEMU")? {
                bail!("QEMU has ended ({status}): {}", tail(&file("log")));
            }
            qmp = Qmp::connect(&file("qmp")).ok();
            Ok(qmp.is_some())
        });
        match (connected, qmp) {
            (Ok(()), Some(qmp)) => Ok(Qemu { name: name.to_owned(), uuid, path, child, qmp }),
            (connected, _) => {
                let _ = child.kill();
                let _ = child.wait();
                connected.and_then(|()| bail!("no monitor"))
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The answers that its guest has got, see rig/README.md.
    pub fn letters(&self) -> Result<String> {
        let path = self.file("letters");
        fs::read_to_string(&path).context(path)
    }

    /// How many answers were of this kind.
    pub fn count(&self, letter: char) -> Result<u64> {
        Ok(self.letters()?.chars().filter(|it| *it == letter).count() as u64)
    }

    /// Waits for letters; fails if QEMU ends.
    pub fn wait_for(&mut self, what: &str, mut so: impl FnMut(&str) -> bool) -> Result<String> {
        let mut letters = String::new();
        let waited = wait_until(&format!("{} has {what}", self.name), TIMEOUT, || {
            if let Some(status) = self.child.try_wait().context("QEMU")? {
                bail!("{} has ended ({status}): {}", self.name, self.log_tail());
            }
            letters = self.letters()?;
            Ok(so(&letters))
        });
        waited.with_context(|| format!("letters {letters:?}; {}", self.log_tail()))?;
        Ok(letters)
    }

    /// Waits until so many more requests have been answered without an error.
    pub fn wait_for_answers(&mut self, more: u64) -> Result<()> {
        let wanted = self.count('.')? + more;
        let answered = |letters: &str| letters.matches('.').count() as u64 >= wanted;
        self.wait_for(&format!("{more} more answers"), answered)?;
        Ok(())
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

    /// What QEMU has printed.
    pub fn log(&self) -> Result<String> {
        let path = self.file("log");
        fs::read_to_string(&path).context(path)
    }

    fn log_tail(&self) -> String {
        tail(&self.file("log"))
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        agent::signal(self.pid(), libc::SIGKILL)?;
        self.child.wait().context("QEMU")?;
        Ok(())
    }

    /// Waits until it has exited.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let mut status = None;
        wait_until(&format!("{} has exited", self.name), TIMEOUT, || {
            status = self.child.try_wait().context("QEMU")?;
            Ok(status.is_some())
        })?;
        status.context("QEMU's exit status")
    }

    fn file(&self, extension: &str) -> String {
        format!("{}.{extension}", self.path)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of QEMU's log, without features that the emulated processor lacks.
fn tail(path: &str) -> String {
    let log = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = log.lines().filter(|line| !line.contains("requested feature")).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
