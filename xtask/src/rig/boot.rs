//! # One boot of a disposable SNP host under QEMU's emulation

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::debian::Debian;
use super::work::Work;
use crate::setup::debian::DISK;
use crate::setup::toolroot::{BESIDE, WORK};
use crate::setup::{Kernel, Rig};

/// Fixed part of the kernel's command line. At log level 5 warnings reach the console, where they
/// fail a boot; by its time a line is known to be the kernel's. From `nokaslr` on it disables
/// hardening and watchdogs, which take a quarter of an emulator's time and are irrelevant here.
const CMDLINE: &str = "console=ttyS0 loglevel=5 printk.time=1 panic=-1 tsc=reliable \
                       nokaslr mitigations=off init_on_alloc=0 \
                       hardened_usercopy=off randomize_kstack_offset=off nowatchdog audit=0";

/// Only what matters here; Debian has its own list, with AppArmor and also with bpf.
const LSM: &str = "lsm=landlock,yama,bpf";

/// A boot's parameters.
pub struct Boot<'a> {
    /// `rig.run=…` for init, and further words for the kernel's command line.
    pub cmdline: String,
    pub memory_mib: u32,
    /// TCP ports of the guest, and ports of 127.0.0.1 forwarded to them.
    pub forward: Vec<(u16, u16)>,
    /// Whether the guest's clocks count its instructions, one for each ns: slow, but independent of
    /// what else this machine does.
    pub counts_instructions: bool,
    pub host: Host<'a>,
    pub rig: &'a Rig,
    pub kernel: &'a (Kernel, Vec<PathBuf>),
}

/// What runs on a booted kernel.
pub enum Host<'a> {
    /// An initramfs of this project's programs, with files that few guests need, because unpacking
    /// them takes time: their paths in the guest and here.
    Rig(Vec<(String, PathBuf)>),
    /// Debian, from a disk. What it writes is kept until the guest powers off.
    Debian(&'a Debian),
}

/// An event of a guest.
pub enum Event {
    Line(String),
    PoweredOff,
    /// The caller's deadline has passed.
    Deadline,
}

/// A running guest; ended when dropped, and its files removed.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: PathBuf,
    _work: Work,
}

impl Boot<'_> {
    /// Boots and captures the guest's console.
    pub fn start(&self) -> Result<Running> {
        let work = Work::new(self)?;
        let mut qemu = self.qemu(&work);
        qemu.args(["-serial", "stdio"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let errors = work.errors();
        let mut child = qemu.stderr(File::create(&errors)?).spawn().context("cannot run QEMU")?;
        let console = child.stdout.take();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let console = BufReader::new(console?);
            for bytes in console.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_string();
                sender.send(line).ok()?;
            }
            Some(())
        });
        Ok(Running { child, lines, errors, _work: work })
    }

    /// Boots with this terminal as the guest's console, until the guest powers off.
    pub fn interactive(&self) -> Result<()> {
        let work = Work::new(self)?;
        let mut qemu = self.qemu(&work);
        qemu.args(["-serial", "mon:stdio"]).stderr(File::create(work.errors())?);
        let status = qemu.status().context("cannot run QEMU")?;
        check(status, &work.errors())
    }

    fn qemu(&self, work: &Work) -> Command {
        const PROGRAM: &str = "qemu-system-x86_64";
        let tools = &self.rig.tools;
        let mut qemu = match &self.host {
            Host::Rig(_) => tools.command(&work.0, PROGRAM),
            Host::Debian(debian) => tools.command_beside(&work.0, &debian.folder, PROGRAM),
        };
        // Nested SVM is emulated, which is all that kvm_amd needs. Disabled features are slower
        // under emulation than the kernel's alternatives.
        qemu.args([
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "EPYC-Milan,+svm,-erms,-fsrm,-pcid,-invpcid",
            "-M",
            "q35",
        ]);
        if self.counts_instructions {
            qemu.args(["-icount", "shift=0,sleep=off"]);
        }
        qemu.args(["-smp", "2", "-m", &self.memory_mib.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        qemu.args(["-kernel", &format!("{WORK}/vmlinuz"), "-initrd", &format!("{WORK}/initramfs")]);
        let cmdline = match &self.host {
            Host::Rig(_) => {
                qemu.arg("-no-reboot");
                format!("{CMDLINE} {LSM} {}", self.cmdline)
            }
            Host::Debian(debian) => {
                // Writes go to a file that exists as long as QEMU, which a reboot does not end.
                let disk = format!("file={BESIDE}/{DISK},format=raw,if=virtio,snapshot=on");
                qemu.args(["-drive", &format!("{disk},cache=unsafe")]).env("TMPDIR", WORK);
                format!("{CMDLINE} {} {}", self.cmdline, debian.cmdline())
            }
        };
        qemu.args(["-append", &cmdline]);
        if !self.forward.is_empty() {
            let mut net = "user,id=net,restrict=on".to_owned();
            for (guest, host) in &self.forward {
                net.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
            }
            qemu.args(["-netdev", &net, "-device", "e1000,netdev=net,romfile="]);
        }
        qemu
    }
}

impl Running {
    /// Waits for the next event, but not beyond `until`.
    pub fn next(&mut self, until: Option<Instant>) -> Result<Event> {
        // Without a deadline, waits in steps that cannot overflow a clock.
        let hour = Duration::from_secs(3600);
        loop {
            let left = until.map_or(hour, |until| until.saturating_duration_since(Instant::now()));
            match self.lines.recv_timeout(left) {
                Ok(line) => return Ok(Event::Line(line)),
                Err(RecvTimeoutError::Timeout) if until.is_some() => return Ok(Event::Deadline),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    return check(status, &self.errors).map(|()| Event::PoweredOff);
                }
            }
        }
    }
}

impl Drop for Running {
    // For an early return; if xtask is killed, QEMU ends by itself.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints QEMU's messages, except about features that its emulation lacks.
fn check(status: ExitStatus, errors: &Path) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(errors).unwrap_or_default();
    let line = text.lines().rfind(|line| !line.contains("TCG doesn't support"));
    bail!("QEMU failed ({status}): {}", line.unwrap_or("it printed nothing"))
}
