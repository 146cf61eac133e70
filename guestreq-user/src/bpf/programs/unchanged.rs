//! # Programs that a takeover finds unchanged
//!
//! Most restarts and many upgrades bring the same programs. The verifier walks them for seconds, so
//! they are not loaded again if those in the kernel are certainly the ones that this agent would
//! load: made from the same source, and with each program and map still in its place. An agent that
//! has started writes down both; whatever another agent or root has replaced since has another id.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result};
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
    /// Whether the programs in the kernel are those that this agent would load.
    pub(super) fn are_unchanged(&self) -> bool {
        let Some(written) = placed::read() else { return false };
        match self.placement() {
            Ok(now) => now == written,
            Err(error) => {
                debug!("loading all programs: {error:#}");
                false
            }
        }
    }

    /// Writes down what is in the kernel now, for the next agent.
    pub(super) fn remember_placement(&self) {
        if self.pins.is_none() {
            return;
        }
        // Without a hook that the kernel refuses, or a removed pin, the next agent tries again.
        let text = match self.placement() {
            Ok(text) => text,
            Err(error) => return debug!("the next agent will load all programs: {error:#}"),
        };
        if let Err(error) = placed::write(&text) {
            warn!("the next agent will load all programs: {error:#}");
        }
    }

    /// The programs' source, and the ids of all programs and pinned maps, in a fixed order.
    fn placement(&self) -> Result<String> {
        let mut text = format!("source {:016x}\n", self.source.0);
        for (name, ..) in pins::MAPS {
            let pins = self.pins.as_ref().context("nothing is pinned")?;
            let map = bpf_syscall::get_pinned(&pins.map(name)).with_context(|| name.to_owned())?;
            writeln!(text, "map {name} {}", bpf_syscall::map_id(map.as_fd())?)?;
        }
        for probe in PROBES.iter().filter(|probe| self.loads(probe)) {
            self.placement_of(probe, &mut text).with_context(|| probe.name.to_owned())?;
        }
        Ok(text)
    }

    fn placement_of(&self, probe: &Probe, text: &mut String) -> Result<()> {
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        match bpf_syscall::get_pinned(&pins.program(probe.entry)) {
            Ok(entry) => {
                let (id, _) = bpf_syscall::program_identity(entry.as_fd())?;
                writeln!(text, "entry {} {id}", probe.entry)?;
            }
            // Never attached, as its module is not loaded.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                writeln!(text, "entry {} none", probe.entry)?;
            }
            Err(error) => return Err(error).context(probe.entry),
        }
        let (array, place) = probe.place;
        let Some(Map::ProgramArray(array)) = self.ebpf.map(array) else {
            anyhow::bail!("{array} is no program array");
        };
        for (name, place) in probe.then.iter().copied().chain([(probe.program, place)]) {
            let _realtime = RealtimeGuard::begin();
            let id = bpf_syscall::program_at(array.fd().as_fd(), place)
                .with_context(|| format!("{name} is not in its place"))?;
            writeln!(text, "program {name} {id}")?;
        }
        Ok(())
    }

    /// Whether this agent loads a hook's programs.
    pub(super) fn loads(&self, probe: &Probe) -> bool {
        self.lsm || !matches!(probe.kind, ProbeKind::Lsm)
    }
}
