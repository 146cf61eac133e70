//! # Pinning and removing the programs

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use log::{info, warn};

use super::Programs;
use crate::{
    bpf::pins::{self, Found, Pins},
    probes::PROBES,
};

impl Programs {
    /// This agent has started: its pins stay for the next one. `works`: enforcement, where asked for,
    /// is verified. Otherwise the next one loads all programs, which may help.
    pub fn commit(&mut self, works: bool) {
        self.stays = true;
        if works {
            self.remember_placed();
        } else {
            self.forget_placed();
        }
    }

    /// Whether the maps are an earlier agent's that enforced.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Whether the programs survive this agent.
    pub fn are_pinned(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::exist)
    }

    /// Pins again if somebody removed the pins or unmounted the file system.
    pub fn follow_pins(&mut self) {
        let Some(pins) = &self.pins else { return };
        if pins.exist() {
            return;
        }
        let reported = std::mem::replace(&mut self.unpinned, true);
        if !reported {
            warn!("{} was removed: until it is restored, nothing survives this agent", pins::ROOT);
        }
        match self.pin_again() {
            Ok(()) => {
                info!("pinned again at {}", pins::ROOT);
                self.unpinned = false;
            }
            Err(error) if !reported => warn!("{error:#}; retrying each second"),
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
        // HOST last: its presence shows that all are pinned.
        let (host, others) = pins::MAPS.split_first().context("no maps")?;
        for (name, ..) in others {
            self.pin_map(name)?;
        }
        for probe in &PROBES {
            // A link that fails here is dropped, and attached again at once.
            let Some(attached) = self.attached.remove(probe.name) else { continue };
            let attached = self.pin(probe, attached)?;
            self.attached.insert(probe.name, attached);
        }
        self.pin_map(host.0)
    }

    fn pin_map(&self, name: &str) -> Result<()> {
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        let path = pins.map(name);
        // Maps that were taken out of `ebpf` are created again by the next agent.
        if let (Some(map), false) = (self.ebpf.map(name), path.exists()) {
            map.pin(&path).with_context(|| format!("{}", path.display()))?;
        }
        Ok(())
    }

    /// Whether another version's link will be replaced: events may be missed at that moment, but no
    /// queries of the gate.
    pub fn will_replace(&self) -> bool {
        let Some(pins) = &self.pins else { return false };
        PROBES.iter().any(|probe| {
            let link = pins.find_link(probe.entry);
            link.is_some_and(|(path, _)| self.adopt(probe, &path).is_err())
        })
    }

    /// Removes an earlier agent's links to unwanted hooks.
    pub fn drop_unwanted(&self) {
        let Some(pins) = &self.pins else { return };
        for probe in PROBES.iter().filter(|probe| self.unwanted(probe)) {
            if let Some((path, _)) = pins.find_link(probe.entry) {
                info!("detached {}: no longer wanted", probe.name);
                unpin(&path);
            }
        }
    }

    /// Removes another version's pins, now that this version's programs are attached.
    pub fn remove_replaced(&self) {
        let Some(pins) = &self.pins else { return };
        let (removed, errors) = pins.remove_old();
        if removed {
            info!("detached another version's programs");
        }
        for error in errors {
            warn!("cannot remove another version's pins beside {}: {error:#}", pins::ROOT);
        }
    }

    /// Detaches all programs and removes all pins.
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
            // From the beginning of a request to its end: none is counted in part.
            drop(self.attached.remove(probe.name).map(|attached| attached.link));
        }
        // A failed start leaves nothing behind.
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
