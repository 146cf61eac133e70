//! # Programs that a takeover finds unchanged
//!
//! Most restarts and many upgrades bring the same programs. The verifier walks them for seconds, so
//! those in the program arrays are not loaded again if they are certainly the ones that this agent
//! would load: made from the same source, and with each program and map still in its place. An agent
//! writes down both; whatever another agent or root has replaced since has another id. The entries,
//! which are small, are loaded in any case: pinned links are compared with them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::Map;
use log::{debug, warn};

use super::Programs;
use crate::{
    bpf::{
        kernel_constants::KernelConstants,
        pins::{self, placed},
        realtime::RealtimeGuard,
    },
    kernel::bpf_syscall,
    probes::{PROBES, Probe, ProbeKind},
};

/// What programs are made from, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u64);

impl Source {
    /// Of an object that is patched for this kernel, the values of its globals and the hooks whose
    /// programs are loaded. A boot has one kernel.
    pub fn new(object: &[u8], words: &KernelConstants, registers: u32, lsm: bool) -> Source {
        let mut hasher = DefaultHasher::new();
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        object.hash(&mut hasher);
        (words.page_offset, words.encryption_mask, words.offsets()).hash(&mut hasher);
        (registers, lsm).hash(&mut hasher);
        Source(hasher.finish())
    }
}

impl Programs {
    /// Takes the programs in the program arrays over, if they are those that this agent would load.
    pub(super) fn adopt_placed(&mut self) -> bool {
        let Some(written) = placed::read() else { return false };
        let found = self.in_place().and_then(|programs| Ok((self.text(&programs)?, programs)));
        match found {
            Ok((text, programs)) if text == written => {
                self.placed = programs;
                true
            }
            Ok(_) => false,
            Err(error) => {
                debug!("loading all programs: {error:#}");
                false
            }
        }
    }

    /// Writes down what this agent has put into the kernel or taken over, for the next one. Where that
    /// is not all that it loads, or has been replaced, the next one tries again.
    pub(super) fn remember_placed(&self) {
        if self.pins.is_none() {
            return;
        }
        let text = self.in_place().and_then(|found| {
            ensure!(found == self.placed, "{found:?} are in place, and not {:?}", self.placed);
            self.text(&found)
        });
        let written = match text {
            Ok(text) => placed::write(&text),
            Err(error) => {
                debug!("the next agent will load all programs: {error:#}");
                placed::forget().map_err(Into::into)
            }
        };
        if let Err(error) = written {
            warn!("cannot write down which programs are loaded: {error:#}");
        }
    }

    /// Has the next agent load all programs.
    pub fn forget_placed(&self) {
        if let Err(error) = placed::forget() {
            warn!("the next agent may take over programs that do not work: {error}");
        }
    }

    /// The ids of the programs in the program arrays, by name.
    fn in_place(&self) -> Result<BTreeMap<&'static str, u32>> {
        let mut found = BTreeMap::new();
        for probe in PROBES.iter().filter(|probe| self.loads(probe)) {
            let (array, place) = probe.place;
            let Some(Map::ProgramArray(array)) = self.ebpf.map(array) else {
                bail!("{array} is no program array");
            };
            for (name, place) in probe.then.iter().copied().chain([(probe.program, place)]) {
                let _realtime = RealtimeGuard::begin();
                let id = bpf_syscall::program_at(array.fd().as_fd(), place)
                    .with_context(|| format!("{name} is not in its place"))?;
                found.insert(name, id);
            }
        }
        Ok(found)
    }

    /// The programs' source, and the ids of all programs and pinned maps.
    fn text(&self, programs: &BTreeMap<&'static str, u32>) -> Result<String> {
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        let mut text = format!("source {:016x}\n", self.source.0);
        for (name, ..) in pins::MAPS {
            let map = bpf_syscall::get_pinned(&pins.map(name)).context(name)?;
            writeln!(text, "map {name} {}", bpf_syscall::map_id(map.as_fd())?)?;
        }
        for (name, id) in programs {
            writeln!(text, "program {name} {id}")?;
        }
        Ok(text)
    }

    /// Whether this agent loads a hook's programs.
    pub(super) fn loads(&self, probe: &Probe) -> bool {
        self.lsm || !matches!(probe.kind, ProbeKind::Lsm)
    }
}
