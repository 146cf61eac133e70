//! # Attaching the programs
//!
//! Probes follow their modules, by the inodes of the modules' folders in sysfs: a probe on a
//! function of an unloaded module is dead, and one on a tracepoint keeps its module loaded.

use std::{
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use aya::programs::{
    KProbe, Lsm, RawTracePoint,
    links::{FdLink, PinnedLink},
};
use log::{info, warn};

use super::{
    Programs,
    attached::{Attached, Failure, explained, renamed},
    pinned::unpin,
};
use crate::{
    failpoint::{self, Point},
    host::system,
    kernel::bpf_syscall,
    probes::{FALLBACK, PROBES, Probe, ProbeKind, WANTS_LOCK},
};

impl Programs {
    /// Attaches what can be attached, detaches what is unloaded or unwanted. Returns whether
    /// anything changed.
    pub fn follow_modules(&mut self) -> bool {
        let mut changed = false;
        // The reverse of the order of attaching, so that no request is seen in part.
        for probe in PROBES.iter().rev() {
            let Some(attached) = self.attached.get(probe.name) else { continue };
            let gone = attached.module != probe.module.and_then(module_identity);
            if gone || self.unwanted(probe) {
                let why = if gone { "its module was unloaded" } else { "no longer needed" };
                info!("detached {}: {why}", probe.name);
                self.missed_before += attached.missed();
                if let Some(pin) = self.attached.remove(probe.name).and_then(|old| old.pin) {
                    unpin(&pin);
                }
                changed = true;
            }
        }
        for probe in &PROBES {
            if self.attached.contains_key(probe.name) || self.unwanted(probe) {
                continue;
            }
            let module = probe.module.and_then(module_identity);
            if self.failures.get(probe.name).is_some_and(|old| !old.is_due(module)) {
                continue;
            }
            if let (Some(name), None) = (probe.module, module) {
                let reason = format!("{name} is not loaded");
                self.failures.insert(probe.name, Failure { reason, module, since: Instant::now() });
                continue;
            }
            match self.attach(probe, module) {
                Ok(how) => {
                    info!("{how} {}", probe.name);
                    self.failures.remove(probe.name);
                    changed = true;
                }
                Err(error) => self.report(probe, module, &error),
            }
        }
        changed
    }

    pub(super) fn unwanted(&self, probe: &Probe) -> bool {
        self.without.iter().any(|name| name == probe.name)
            || (probe.name == FALLBACK && self.attached.contains_key(WANTS_LOCK))
            || (matches!(probe.kind, ProbeKind::Lsm) && !self.lsm)
    }

    /// Attaches a probe, or takes over a pinned link. Returns which of the two, for the log.
    fn attach(&mut self, probe: &Probe, module: Option<u64>) -> Result<&'static str> {
        let mut old = None;
        if let Some(pins) = &self.pins
            && let Some((path, on)) = pins.find_link(probe.entry)
        {
            match self.adopt(probe, &path) {
                Ok(attached) if on == module.unwrap_or(0) => {
                    self.attached.insert(probe.name, Attached { module, ..attached });
                    return Ok("took over");
                }
                Ok(attached) => {
                    // Its module was unloaded or reloaded: the link is dead.
                    drop(attached);
                    unpin(&path);
                }
                Err(error) => {
                    warn!(
                        "{}: replacing the link pinned at {}: {error:#}",
                        probe.name,
                        path.display()
                    );
                    old = Some(path);
                }
            }
        }
        // An LSM hook is never left without a program: the new link replaces the old one's pin, and
        // the kernel takes one of two answers. Two links on other hooks would count twice.
        if let (Some(path), false) = (&old, matches!(probe.kind, ProbeKind::Lsm)) {
            unpin(path);
        }
        let attached = self.attach_new(probe, module)?;
        failpoint::point(Point::Attached(probe.entry));
        let attached = self.pin(probe, attached)?;
        if let Err(error) = attached.read_missed() {
            warn!("{}: missed hits are not counted: {error}", probe.name);
        }
        self.attached.insert(probe.name, attached);
        Ok("attached")
    }

    fn attach_new(&mut self, probe: &Probe, module: Option<u64>) -> Result<Attached> {
        let program = self.ebpf.program_mut(probe.entry).context(probe.entry)?;
        let fd = program.fd()?.as_fd().try_clone_to_owned()?;
        let link: FdLink = match probe.kind {
            ProbeKind::Kprobe => {
                let program: &mut KProbe = program.try_into()?;
                let attached = program.attach(probe.target, 0).or_else(|error| {
                    // Where it was renamed, the kernel does not know it.
                    match renamed(probe.target) {
                        Some(name) => program.attach(name, 0),
                        None => Err(error),
                    }
                });
                program.take_link(attached.map_err(explained)?)?.try_into()?
            }
            ProbeKind::RawTracepoint => {
                let program: &mut RawTracePoint = program.try_into()?;
                let id = program.attach(probe.target)?;
                program.take_link(id)?.into()
            }
            ProbeKind::Lsm => {
                let program: &mut Lsm = program.try_into()?;
                let id = program.attach()?;
                program.take_link(id)?.into()
            }
        };
        let id = link.info()?.id();
        Ok(Attached::new(link, None, id, fd, module))
    }

    /// Pins a new link and its program, which the next agent compares.
    pub(super) fn pin(&self, probe: &Probe, attached: Attached) -> Result<Attached> {
        let Some(pins) = &self.pins else { return Ok(attached) };
        let path = pins.program(probe.entry);
        if path.exists() {
            unpin(&path);
        }
        bpf_syscall::pin(attached.program.as_fd(), &path)
            .with_context(|| format!("{}", path.display()))?;
        failpoint::point(Point::ProgramPinned(probe.entry));
        let path = pins.link(probe.entry, attached.module);
        let link = attached.link.pin(pins.new_link(&path))?.into();
        pins.commit(&path)?;
        Ok(Attached { link, pin: Some(path), ..attached })
    }

    /// A pinned link, if its program is the one that this version would attach.
    pub(super) fn adopt(&self, probe: &Probe, path: &Path) -> Result<Attached> {
        let link: FdLink = PinnedLink::from_pin(path)?.into();
        let info = link.info()?;
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        let program = bpf_syscall::get_pinned(&pins.program(probe.entry))?;
        let (id, tag) = bpf_syscall::program_identity(program.as_fd())?;
        if id != info.program_id() {
            bail!("its program is not the pinned one");
        }
        let ours = self.ebpf.program(probe.entry).context(probe.entry)?.fd()?.as_fd();
        if tag != bpf_syscall::program_identity(ours)?.1 {
            bail!("another version's program");
        }
        Ok(Attached::new(link, Some(path.to_owned()), info.id(), program, None))
    }

    /// Logs once why a probe is not attached, and what is unavailable without it.
    pub(super) fn report(&mut self, probe: &Probe, module: Option<u64>, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if self.failures.get(probe.name).is_none_or(|old| old.reason != reason) {
            let loses = probe.loses.unwrap_or("everything");
            warn!("cannot attach {}: {reason}; unavailable: {loses}", probe.name);
        }
        self.failures.insert(probe.name, Failure { reason, module, since: Instant::now() });
    }
}

/// The inode of a loaded module's folder: another one after each load.
pub fn module_identity(name: &str) -> Option<u64> {
    fs::metadata(system::host().path(&format!("/sys/module/{name}")))
        .ok()
        .map(|metadata| metadata.ino())
}
