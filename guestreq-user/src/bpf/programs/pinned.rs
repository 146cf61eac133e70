//! # What of the programs outlives the agent

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use log::{info, warn};

use super::Programs;
use crate::{
    bpf::{
        pins::{self, Found, Pins},
        records::Records,
    },
    probes::PROBES,
};

impl Programs {
    /// This agent has started: from now on what it pinned is there for the next one.
    pub fn commit(&mut self) {
        self.stays = true;
    }

    /// Whether an earlier agent's maps are used on, and it enforced by them.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Whether what is attached will outlive us.
    pub fn are_pinned(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::exist)
    }

    /// Pins again what somebody has removed, with the file system perhaps, once that can be done.
    pub fn follow_pins(&mut self) {
        let Some(pins) = &self.pins else { return };
        if pins.exist() {
            return;
        }
        let told = std::mem::replace(&mut self.unpinned, true);
        if !told {
            warn!(
                "{} is gone: until it is pinned again nothing would outlive this agent",
                pins::ROOT
            );
        }
        match self.pin_again() {
            Ok(()) => {
                info!("pinned again at {}", pins::ROOT);
                self.unpinned = false;
            }
            Err(error) if !told => warn!("{error:#}; trying again each second"),
            Err(_) => {}
        }
    }

    fn pin_again(&mut self) -> Result<()> {
        pins::file_system(pins::mounted())?;
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        if let Found::Foreign(why) = pins.look() {
            bail!("{}: {why}: remove it", pins::ROOT);
        }
        pins.make_folders()?;
        // The one by which all are known comes last.
        let (host, others) = pins::MAPS.split_first().context("no maps")?;
        for (name, ..) in others {
            self.pin_map(name)?;
        }
        for probe in &PROBES {
            // One that fails here is let go of, and attached anew at once.
            let Some(attached) = self.attached.remove(probe.name) else { continue };
            let attached = self.pin(probe, attached)?;
            self.attached.insert(probe.name, attached);
        }
        self.pin_map(host.0)
    }

    fn pin_map(&self, name: &str) -> Result<()> {
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        let path = pins.map(name);
        // One that is read elsewhere is made anew by the next agent.
        if let (Some(map), false) = (self.ebpf.map(name), path.exists()) {
            map.pin(&path).with_context(|| format!("{}", path.display()))?;
        }
        Ok(())
    }

    /// Whether a link of another version's entry is to be replaced: in that moment events may be
    /// missed, but for the gate's questions.
    pub fn will_replace(&self) -> bool {
        let Some(pins) = &self.pins else { return false };
        PROBES.iter().any(|probe| {
            let link = pins.find_link(probe.entry);
            link.is_some_and(|(path, _)| self.adopt(probe, &path).is_err())
        })
    }

    /// Ends links of an earlier agent's to hooks that this one does not want.
    pub fn drop_unwanted(&self) {
        let Some(pins) = &self.pins else { return };
        for probe in PROBES.iter().filter(|probe| self.unwanted(probe)) {
            if let Some((path, _)) = pins.find_link(probe.entry) {
                info!("detached {}: no longer wanted", probe.name);
                unpin(&path);
            }
        }
    }

    /// Ends what another version left, now that this one's stands, and goes on from its counts.
    pub fn remove_replaced(&mut self, records: &Records) {
        let Some(pins) = &self.pins else { return };
        match pins.inherit(records) {
            Ok(0) => {}
            Ok(commands) => info!("another version's counts go on, of {commands} PSP commands"),
            Err(error) => warn!("counts begin anew: {error:#}"),
        }
        self.missed_before += pins::missed_by_old();
        let (dropped, errors) = pins.drop_old();
        if dropped {
            info!("another version's programs are detached");
        }
        for error in errors {
            warn!("what was put aside beside {} is left: {error:#}", pins::ROOT);
        }
    }

    /// Lets go of everything, for good: from the beginning of a request to its end.
    pub fn detach(&mut self) -> Result<()> {
        self.attached.clear();
        if self.pins.take().is_some() {
            pins::remove_all(&detach_order())?;
        }
        Ok(())
    }
}

/// Entries, from the beginning of a request to its end.
pub fn detach_order() -> Vec<&'static str> {
    PROBES.iter().rev().map(|probe| probe.entry).collect()
}

impl Drop for Programs {
    fn drop(&mut self) {
        for probe in PROBES.iter().rev() {
            // From the beginning of a request to its end: nothing is counted half.
            drop(self.attached.remove(probe.name).map(|attached| attached.link));
        }
        // A start that failed leaves nothing behind.
        if !self.stays
            && let Err(error) = self.detach()
        {
            warn!("{error:#}");
        }
    }
}

pub(super) fn unpin(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!("{}: {error}", path.display());
    }
}
