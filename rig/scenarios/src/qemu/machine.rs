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
    letters::Letters,
};

/// trixie's.
pub const QEMU_10: &str = "/usr/bin/qemu-system-x86_64";
/// trixie-backports', in another place than its package's.
pub const QEMU_11: &str = "/opt/qemu/bin/qemu-system-x86_64";
/// Where the package has what any version reads.
const DATA: &str = "/usr/share/qemu";
const FOLDER: &str = "/tmp/qemu";

/// The C bit's position is compared with CPUID's. The emulated processor has no such leaf and
/// answers with another, which says 8; on hardware it is 51.
const SNP: &str = "sev-snp-guest,id=sev,cbitpos=8,reduced-phys-bits=1";

/// A VM that is not started yet.
pub struct Machine {
    name: String,
    image: Vec<u8>,
    program: &'static str,
    vcpus: u8,
}

impl Machine {
    /// A VM of this name, whose guest follows the script.
    pub fn new(name: &str, script: &Script) -> Result<Machine> {
        let vm = Machine::with_image(name, flash::image(script, flash::PAGES)?);
        Ok(Machine { vcpus: script.vcpus, ..vm })
    }

    /// A VM of this name with this firmware image and a vCPU.
    pub fn with_image(name: &str, image: Vec<u8>) -> Machine {
        Machine { name: name.to_owned(), image, program: QEMU_10, vcpus: 1 }
    }

    /// Started with this program.
    pub fn with(self, program: &'static str) -> Machine {
        Machine { program, ..self }
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
        let mut qemu = Command::new(self.program);
        qemu.args(["-name", &self.name, "-uuid", &uuid, "-m", "64", "-bios", &file("fd")])
            .args(["-L", DATA, "-accel", "kvm", "-cpu", "EPYC-v4", "-object", SNP])
            .args(["-machine", "q35,confidential-guest-support=sev"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args([
                "-smp",
                &self.vcpus.to_string(),
                "-qmp",
                &format!("unix:{},server=on,wait=off", file("qmp")),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("QEMU's log")?)
            .stderr(log);
        for vcpu in 0..self.vcpus {
            let letters = letters(&path, vcpu);
            let port = 0x402 + u16::from(vcpu);
            qemu.args(["-chardev", &format!("file,id=letters{vcpu},path={}", letters.path())]);
            qemu.args(["-device", &format!("isa-debugcon,iobase={port:#x},chardev=letters{vcpu}")]);
        }
        let child = qemu.spawn().context(self.program)?;
        Ok((Process { child, path }, uuid))
    }
}

/// What a vCPU of the machine with these files writes.
pub fn letters(path: &str, vcpu: u8) -> Letters {
    Letters::at(format!("{path}.letters{vcpu}"))
}
