//! # Loading the programs
//!
//! For this kernel, into the maps that an earlier agent left, if one did.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, EbpfLoader, Endianness,
    maps::ProgramArray,
    programs::{KProbe, Lsm, ProgramError, RawTracePoint},
};
use log::{Level, debug, info, log_enabled, warn};

use super::{Programs, kfunc_patch::RdonlyCast};
use crate::{
    bpf::{
        kernel_constants::KernelConstants,
        pins::{self, Found, Pins},
        realtime::RealtimeGuard,
    },
    failpoint::{self, Point},
    host::system,
    kernel,
    probes::{IOCTL_ENTRY, Kind, PROBES, Probe},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("GUESTREQ_EBPF"));

/// The programs that are part of this binary, if any are: plain cargo builds it without.
pub fn built_in() -> Result<&'static [u8]> {
    if cfg!(without_programs) {
        bail!("this guestreq was built without its eBPF programs: `cargo xtask build` builds both");
    }
    Ok(OBJECT)
}

/// Room for vCPU threads (72 bytes each), on average over all VMs.
const THREADS_PER_VM: u32 = 32;

/// What loading needs to be told.
pub struct Wanted<'a> {
    pub max_vms: u32,
    /// Probes that the operator does not want.
    pub without: &'a [String],
    /// Whether decisions are carried out, or may come to be.
    pub lsm: bool,
    /// Programs to load instead of those that are part of this binary; for tests.
    pub object: Option<&'a Path>,
}

impl Wanted<'_> {
    fn object(&self) -> Result<Cow<'static, [u8]>> {
        match self.object {
            None => built_in().map(Cow::Borrowed),
            Some(path) => {
                let object = fs::read(path).with_context(|| format!("{}", path.display()))?;
                Ok(Cow::Owned(object))
            }
        }
    }
}

impl Programs {
    /// Loads the programs for this kernel and puts them in their places: those of an agent
    /// that was here before are replaced, each at once. What is not attached yet stays so.
    pub fn load(wanted: &Wanted<'_>, pins: Option<Pins>) -> Result<Programs> {
        for name in wanted.without {
            if !PROBES.iter().any(|probe| probe.name == name) {
                let known: Vec<_> = PROBES.iter().map(|probe| probe.name).collect();
                bail!("there is no probe {name:?}; there are {}", known.join(", "));
            }
        }
        let stays = pins.as_ref().is_some_and(Pins::are_any);
        let Inherited { max_vms, threads, words } = inherit(wanted.max_vms, pins.as_ref())?;
        // One loader for both: a new one reads the kernel's BTF, which takes a while.
        let mut loader = EbpfLoader::new();
        let mut object = wanted.object()?;
        // Without the kernel's types only what needs them is lost.
        let btf = Btf::parse_file(system::host().path(kernel::BTF), Endianness::default()).ok();
        let mut registers = 0;
        if let Some(cast) = btf.as_ref().and_then(RdonlyCast::find) {
            cast.put_into(object.to_mut());
            registers = cast.registers;
        }
        let words = match words {
            Some(words) => words,
            None => KernelConstants::read(&mut loader, &object)?,
        };
        // Of this version, and enforcing: not what was put aside, nor what an agent died over.
        let adopted = pins.as_ref().is_some_and(|pins| pins.find_link(IOCTL_ENTRY).is_some());
        if let Some(pins) = &pins {
            pins.make_folders()?;
            pins.drop_uncommitted()?;
            for (map, ..) in pins::MAPS {
                loader.map_pin_path(map, pins.map(map));
            }
        }
        let undisturbed = RealtimeGuard::begin();
        let ebpf = loader
            .override_global("PAGE_OFFSET", &words.page_offset, true)
            .override_global("ENCRYPTION_MASK", &words.encryption_mask, true)
            .override_global("SIGNAL_OF_TASK", &words.signal_of_task, true)
            .override_global("LIVE_OF_SIGNAL", &words.live_of_signal, true)
            .override_global("REGISTERS_TYPE", &registers, true)
            .map_max_entries("VMS", max_vms)
            .map_max_entries("FREE_SLOTS", max_vms)
            .map_max_entries("VM_OF_PROCESS", max_vms)
            .override_global("THREAD_MASK", &(threads - 1), true)
            .map_max_entries("THREADS", threads)
            .map_max_entries("CONTEXTS", max_vms)
            .load(&object)
            .context("loading the eBPF maps")?;
        drop(undisturbed);
        failpoint::point(Point::Maps);
        let mut programs = Programs {
            ebpf,
            pins,
            adopted,
            stays,
            unpinned: false,
            max_vms,
            words,
            attached: BTreeMap::new(),
            without: wanted.without.to_vec(),
            lsm: wanted.lsm,
            trouble: BTreeMap::new(),
            missed_before: 0,
        };
        programs.load_all(btf.as_ref())?;
        Ok(programs)
    }

    /// Loads each hook's programs, and puts all but the first in their places.
    fn load_all(&mut self, btf: Option<&Btf>) -> Result<()> {
        // The kernel lays code out in the order in which it comes: what each request runs is
        // loaded first, and is together in few pages.
        self.for_each(|programs, probe| {
            [probe.entry, probe.program]
                .iter()
                .try_for_each(|name| programs.load_one(probe, name, btf))
        })?;
        self.for_each(|programs, probe| {
            probe.then.iter().try_for_each(|(name, _)| programs.load_one(probe, name, btf))
        })?;
        self.for_each(Programs::place)
    }

    /// Does something for each hook that is wanted. Without one that is for enforcing only, the
    /// rest goes on.
    fn for_each(&mut self, what: impl Fn(&mut Programs, &Probe) -> Result<()>) -> Result<()> {
        for probe in &PROBES {
            let is_lsm = matches!(probe.kind, Kind::Lsm);
            if is_lsm && (!self.lsm || self.trouble.contains_key(probe.name)) {
                continue;
            }
            match what(self, probe) {
                Ok(()) => {}
                Err(error) if probe.loses.is_some() && is_lsm => {
                    self.report(probe, None, &error);
                    self.without.push(probe.name.to_owned());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn load_one(&mut self, probe: &Probe, name: &str, btf: Option<&Btf>) -> Result<()> {
        let program = self.ebpf.program_mut(name).context(name.to_owned())?;
        match (&probe.kind, btf) {
            (Kind::Kprobe, _) => <&mut KProbe>::try_from(program)?.load(),
            (Kind::RawTracepoint, _) => <&mut RawTracePoint>::try_from(program)?.load(),
            (Kind::Lsm, Some(btf)) => <&mut Lsm>::try_from(program)?.load(probe.target, btf),
            (Kind::Lsm, None) => bail!("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"),
        }
        .map_err(|error| refused(probe.name, &error))?;
        // Which of them takes the verifier long.
        if log_enabled!(Level::Debug) {
            let info = self.ebpf.program(name).context(name.to_owned())?.info()?;
            let verified = info.verified_instruction_count();
            debug!("loaded {name}: the verifier walked {} instructions", verified.unwrap_or(0));
        }
        Ok(())
    }

    /// Puts a hook's programs in their places: what one jumps to is there before it is.
    fn place(&mut self, probe: &Probe) -> Result<()> {
        let (array, place) = probe.place;
        for (name, place) in probe.then.iter().copied().chain([(probe.program, place)]) {
            let program = self.ebpf.program(name).context(name)?.fd()?.try_clone()?;
            let array = self.ebpf.map_mut(array).context(array)?;
            ProgramArray::try_from(array)?
                .set(place, &program, 0)
                .with_context(|| format!("putting {name} in its place"))?;
        }
        failpoint::point(Point::Placed(probe.program));
        Ok(())
    }
}

/// What pinned maps say of themselves; else what they are to be made like.
struct Inherited {
    max_vms: u32,
    threads: u32,
    words: Option<KernelConstants>,
}

/// For how many VMs and threads: pinned maps keep the sizes that they were made with.
fn inherit(max_vms: u32, pins: Option<&Pins>) -> Result<Inherited> {
    let threads = max_vms.saturating_mul(THREADS_PER_VM).next_power_of_two();
    let new = Inherited { max_vms, threads, words: None };
    let Some(pins) = pins else { return Ok(new) };
    match pins.look() {
        Found::Nothing => Ok(new),
        Found::Ours { max_vms: pinned, threads, words } => {
            info!("taking over what an earlier agent left at {}", pins::ROOT);
            if pinned != max_vms {
                warn!(
                    "the maps at {} have room for {pinned} VMs, not for {max_vms}: \
                     `guestreq detach` first, if max_vms is to change",
                    pins::ROOT
                );
            }
            Ok(Inherited { max_vms: pinned, threads, words })
        }
        Found::Foreign(why) => {
            warn!(
                "what is pinned at {} cannot be taken over ({why}): it stays attached until this \
                 version's programs are, and counters start at zero",
                pins::ROOT
            );
            pins.put_aside()?;
            Ok(new)
        }
    }
}

/// One line; what the verifier had to say fills pages.
fn refused(name: &str, error: &ProgramError) -> anyhow::Error {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return anyhow!("loading {name}: {error}");
    };
    debug!("{name}: {verifier_log}");
    anyhow!("the kernel refused {name}: {io_error}; RUST_LOG=debug shows what its verifier says")
}
