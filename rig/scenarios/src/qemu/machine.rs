//! # What QEMU is started with

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail};

use super::{Process, Qemu, TIMEOUT, qmp::Qmp};
use crate::{
    flash::{self, Script},
    host::wait_until,
};

const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";
const FOLDER: &str = "/tmp/qemu";

/// The C bit's position is compared with CPUID's. The emulated processor has no such leaf and
/// answers with another, which says 8; on hardware it is 51.
const SNP: &str = "sev-snp-guest,id=sev,cbitpos=8,reduced-phys-bits=1";

/// A VM that is not started yet.
pub struct Machine {
    name: String,
    image: Vec<u8>,
}

impl Machine {
    /// A VM of this name, whose guest follows the script.
    pub fn new(name: &str, script: &Script) -> Result<Machine> {
        Ok(Machine { name: name.to_owned(), image: flash::image(script)? })
    }

    /// Starts QEMU, and waits for its monitor: its VM is launched then.
    pub fn start(self) -> Result<Qemu> {
        let name = self.name.clone();
        let (mut process, uuid) = self.spawn()?;
        let mut qmp = None;
        wait_until("QEMU has a monitor", TIMEOUT, || {
            process.still_runs()?;
            qmp = Qmp::connect(&process.file("qmp")).ok();
            Ok(qmp.is_some())
        })?;
        let Some(qmp) = qmp else { bail!("no monitor") };
        Ok(Qemu { name, uuid, process, qmp })
    }

    /// Starts QEMU, and returns it with the VM's UUID at once.
    pub fn spawn(self) -> Result<(Process, String)> {
        static STARTED: AtomicU32 = AtomicU32::new(1);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let uuid = format!("5e71c0de-0000-4000-8000-{number:012x}");
        fs::create_dir_all(FOLDER).context(FOLDER)?;
        let path = format!("{FOLDER}/{}-{number}", self.name);
        let file = |extension| format!("{path}.{extension}");
        fs::write(file("fd"), self.image).context("a firmware image")?;
        let log = File::create(file("log")).context("QEMU's log")?;
        let child = Command::new(PROGRAM)
            .args(["-name", &self.name, "-uuid", &uuid, "-m", "64", "-bios", &file("fd")])
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
        Ok((Process { child, path }, uuid))
    }
}
