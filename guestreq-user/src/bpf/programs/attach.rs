//! # Attaching the programs
//!
//! Modules come and go: a probe on a function of a module that was unloaded is
//! dead, and one on a tracepoint keeps its module from being unloaded. So probes
//! follow their modules, by the identity of their folder in sysfs.

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
    attached::{Attached, Trouble, explained},
    pinned::unpin,
};
use crate::{
    failpoint::{self, Point},
    host::system,
    kernel::bpf_syscall,
    probes::{FALLBACK, Kind, PROBES, Probe, WANTS_LOCK},
};

impl Programs {
    /// Attaches what can be attached and is not, and lets go of what is gone.
    /// Returns whether anything changed.
    pub fn follow_modules(&mut self) -> bool {
        let mut changed = false;
        // Detach in the reverse order, for the same reason.
        for probe in PROBES.iter().rev() {
            let Some(attached) = self.attached.get(probe.name) else { continue };
            let gone = attached.module != probe.module.and_then(module_identity);
            if gone || self.unwanted(probe) {
                let why = if gone { "its module is gone" } else { "no longer needed" };
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
            if self.trouble.get(probe.name).is_some_and(|old| !old.is_worth_a_try(module)) {
                continue;
            }
            if let (Some(name), None) = (probe.module, module) {
                let reason = format!("{name} is not loaded");
                self.trouble.insert(probe.name, Trouble { reason, module, since: Instant::now() });
                continue;
            }
            match self.attach(probe, module) {
                Ok(how) => {
                    info!("{how} {}", probe.name);
                    self.trouble.remove(probe.name);
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
            || (matches!(probe.kind, Kind::Lsm) && !self.lsm)
    }

    /// Attaches a probe, or takes over the link that an earlier agent pinned; which of the two.
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
                    // A link to a module that is gone, or was loaded anew, does nothing.
                    drop(attached);
                    unpin(&path);
                }
                Err(error) => {
                    warn!(
                        "{}: replacing what was pinned at {}: {error:#}",
                        probe.name,
                        path.display()
                    );
                    old = Some(path);
                }
            }
        }
        // An LSM hook is never left alone: the new link is pinned in the old one's place, and of
        // two answers the kernel takes one. Others would count twice.
        if let (Some(path), false) = (&old, matches!(probe.kind, Kind::Lsm)) {
            unpin(path);
        }
        let attached = self.attach_anew(probe, module)?;
        failpoint::point(Point::Attached(probe.entry));
        let attached = self.pin(probe, attached)?;
        if let Err(error) = attached.read_missed() {
            warn!("{}: hits that the kernel cannot deliver are not counted ({error})", probe.name);
        }
        self.attached.insert(probe.name, attached);
        Ok("attached")
    }

    fn attach_anew(&mut self, probe: &Probe, module: Option<u64>) -> Result<Attached> {
        let program = self.ebpf.program_mut(probe.entry).context(probe.entry)?;
        let fd = program.fd()?.as_fd().try_clone_to_owned()?;
        let link: FdLink = match probe.kind {
            Kind::Kprobe => {
                let program: &mut KProbe = program.try_into()?;
                let id = program.attach(probe.target, 0).map_err(explained)?;
                program.take_link(id)?.try_into()?
            }
            Kind::RawTracepoint => {
                let program: &mut RawTracePoint = program.try_into()?;
                let id = program.attach(probe.target)?;
                program.take_link(id)?.into()
            }
            Kind::Lsm => {
                let program: &mut Lsm = program.try_into()?;
                let id = program.attach()?;
                program.take_link(id)?.into()
            }
        };
        let id = link.info()?.id();
        Ok(Attached::new(link, None, id, fd, module))
    }

    /// Pins a new link, and the program that it attaches: what the next agent compares.
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

    /// A pinned link, if it is of the very program that this version would attach.
    pub(super) fn adopt(&self, probe: &Probe, path: &Path) -> Result<Attached> {
        let link: FdLink = PinnedLink::from_pin(path)?.into();
        let info = link.info()?;
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        let program = bpf_syscall::get_pinned(&pins.program(probe.entry))?;
        let (id, tag) = bpf_syscall::program_identity(program.as_fd())?;
        let ours = self.ebpf.program(probe.entry).context(probe.entry)?.fd()?.as_fd();
        if id != info.program_id() {
            bail!("the link's program is not the one that is pinned beside it");
        }
        if tag != bpf_syscall::program_identity(ours)?.1 {
            bail!("another version's program");
        }
        Ok(Attached::new(link, Some(path.to_owned()), info.id(), program, None))
    }

    /// Says once why a probe is not attached, and what that costs.
    pub(super) fn report(&mut self, probe: &Probe, module: Option<u64>, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if self.trouble.get(probe.name).is_none_or(|old| old.reason != reason) {
            let loses = probe.loses.unwrap_or("everything");
            warn!("{} cannot be attached ({reason}): lost is {loses}", probe.name);
        }
        self.trouble.insert(probe.name, Trouble { reason, module, since: Instant::now() });
    }
}

/// A module's folder is a new one each time it is loaded.
pub fn module_identity(name: &str) -> Option<u64> {
    fs::metadata(system::host().path(&format!("/sys/module/{name}")))
        .ok()
        .map(|metadata| metadata.ino())
}
