//! # Loading the programs
//!
//! For this kernel, with an earlier agent's pinned maps if there are any.

use std::{borrow::Cow, collections::BTreeMap, fs, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, EbpfLoader, Endianness,
    maps::ProgramArray,
    programs::{KProbe, Lsm, ProgramError, RawTracePoint},
};
use log::{Level, debug, info, log_enabled, warn};

use super::{Programs, kfunc_patch::RdonlyCast, unchanged::Source};
use crate::{
    bpf::{
        kernel_constants::KernelConstants,
        pins::{self, Found, Pins},
        realtime::RealtimeGuard,
    },
    failpoint::{self, Point},
    host::system,
    kernel::{self, bpf_syscall},
    probes::{IOCTL_ENTRY, PROBES, Probe, ProbeKind},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("GUESTREQ_EBPF"));

/// The programs in this binary. Plain cargo builds it without.
pub fn built_in() -> Result<&'static [u8]> {
    if cfg!(without_programs) {
        bail!("this guestreq was built without its eBPF programs: `cargo xtask build` builds both");
    }
    Ok(OBJECT)
}

/// Room for vCPU threads (72 bytes each), on average over all VMs.
const THREADS_PER_VM: u32 = 32;

/// What to load.
pub struct Wanted<'a> {
    pub max_vms: u32,
    /// Probes that the operator does not want.
    pub without: &'a [String],
    /// Whether decisions are or may become enforced.
    pub lsm: bool,
    /// Programs to load instead of this binary's; for tests.
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
    /// Loads the programs and puts them into the program arrays, replacing an earlier agent's one
    /// by one, atomically. Attaches nothing.
    pub fn load(wanted: &Wanted<'_>, pins: Option<Pins>) -> Result<Programs> {
        for name in wanted.without {
            if !PROBES.iter().any(|probe| probe.name == name) {
                let known: Vec<_> = PROBES.iter().map(|probe| probe.name).collect();
                bail!("unknown probe {name:?}; there are {}", known.join(", "));
            }
        }
        let stays = pins.as_ref().is_some_and(Pins::are_any);
        let Inherited { max_vms, threads, words } = inherit(wanted.max_vms, pins.as_ref())?;
        let mut loader = EbpfLoader::new();
        let mut object = wanted.object()?;
        // Without BTF only what needs it is lost.
        let btf = Btf::parse_file(system::host().path(kernel::BTF), Endianness::default()).ok();
        let mut registers = 0;
        if let Some(cast) = btf.as_ref().and_then(RdonlyCast::find) {
            cast.put_into(object.to_mut());
            registers = cast.registers;
        }
        let words = match words {
            Some(words) => words,
            None => KernelConstants::read()?,
        };
        // This version's enforcing pins: neither old nor incomplete ones.
        let adopted = pins.as_ref().is_some_and(|pins| pins.find_link(IOCTL_ENTRY).is_some());
        if let Some(pins) = &pins {
            pins.make_folders()?;
            pins.drop_uncommitted()?;
            for (map, ..) in pins::MAPS {
                loader.map_pin_path(map, pins.map(map));
            }
        }
        let realtime = RealtimeGuard::begin();
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
        drop(realtime);
        failpoint::point(Point::Maps);
        let mut programs = Programs {
            ebpf,
            pins,
            adopted,
            source: Source::new(&object, &words, registers, wanted.lsm),
            placed: BTreeMap::new(),
            stays,
            unpinned: false,
            max_vms,
            words,
            attached: BTreeMap::new(),
            without: wanted.without.to_vec(),
            lsm: wanted.lsm,
            failures: BTreeMap::new(),
            missed_before: 0,
        };
        if programs.adopt_placed() {
            info!("the programs in the kernel are this version's: they are not loaded again");
            programs
                .for_each(|programs, probe| programs.load_one(probe, probe.entry, btf.as_ref()))?;
        } else {
            programs.load_all(btf.as_ref())?;
        }
        Ok(programs)
    }

    /// Loads each hook's programs, and puts all but the entries into the program arrays.
    fn load_all(&mut self, btf: Option<&Btf>) -> Result<()> {
        // The kernel lays code out in the order of loading: what runs for every request comes
        // first, in few pages.
        self.for_each(|programs, probe| {
            [probe.entry, probe.program]
                .iter()
                .try_for_each(|name| programs.load_one(probe, name, btf))
        })?;
        self.for_each(|programs, probe| {
            probe.then.iter().try_for_each(|(name, _)| programs.load_one(probe, name, btf))
        })?;
        self.for_each(Programs::fill_array)
    }

    /// Calls `what` for each wanted hook. Hooks only for enforcement may fail.
    fn for_each(&mut self, what: impl Fn(&mut Programs, &Probe) -> Result<()>) -> Result<()> {
        for probe in &PROBES {
            let is_lsm = matches!(probe.kind, ProbeKind::Lsm);
            if !self.loads(probe) || is_lsm && self.failures.contains_key(probe.name) {
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
            (ProbeKind::Kprobe, _) => <&mut KProbe>::try_from(program)?.load(),
            (ProbeKind::RawTracepoint, _) => <&mut RawTracePoint>::try_from(program)?.load(),
            (ProbeKind::Lsm, Some(btf)) => <&mut Lsm>::try_from(program)?.load(probe.target, btf),
            (ProbeKind::Lsm, None) => bail!("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"),
        }
        .map_err(|error| refused(probe.name, &error))?;
        // Shows which programs take the verifier long.
        if log_enabled!(Level::Debug) {
            let info = self.ebpf.program(name).context(name.to_owned())?.info()?;
            let verified = info.verified_instruction_count();
            debug!("loaded {name}: the verifier walked {} instructions", verified.unwrap_or(0));
        }
        Ok(())
    }

    /// Puts a hook's programs into its program array, each after those that it jumps to.
    fn fill_array(&mut self, probe: &Probe) -> Result<()> {
        let (array, place) = probe.place;
        for (name, place) in probe.then.iter().copied().chain([(probe.program, place)]) {
            let program = self.ebpf.program(name).context(name)?.fd()?.try_clone()?;
            let array = self.ebpf.map_mut(array).context(array)?;
            ProgramArray::try_from(array)?
                .set(place, &program, 0)
                .with_context(|| format!("putting {name} into its program array"))?;
            self.placed.insert(name, bpf_syscall::program_identity(program.as_fd())?.0);
        }
        failpoint::point(Point::Placed(probe.program));
        Ok(())
    }
}

/// Properties of pinned maps, or of new ones.
struct Inherited {
    max_vms: u32,
    threads: u32,
    words: Option<KernelConstants>,
}

/// Pinned maps keep their sizes.
fn inherit(max_vms: u32, pins: Option<&Pins>) -> Result<Inherited> {
    let threads = max_vms.saturating_mul(THREADS_PER_VM).next_power_of_two();
    let new = Inherited { max_vms, threads, words: None };
    let Some(pins) = pins else { return Ok(new) };
    match pins.look() {
        Found::Nothing => Ok(new),
        Found::Ours { max_vms: pinned, threads, words } => {
            info!("taking over an earlier agent's pins at {}", pins::ROOT);
            if pinned != max_vms {
                warn!(
                    "the pinned maps at {} hold {pinned} VMs, not {max_vms}: to change max_vms, \
                     run `guestreq detach` first",
                    pins::ROOT
                );
            }
            Ok(Inherited { max_vms: pinned, threads, words })
        }
        Found::Foreign(why) => {
            warn!(
                "cannot take over the pins at {} ({why}): they stay attached until this version's \
                 programs are, and counters start at zero",
                pins::ROOT
            );
            pins.put_aside()?;
            Ok(new)
        }
    }
}

/// One line: the verifier's log fills pages.
fn refused(name: &str, error: &ProgramError) -> anyhow::Error {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return anyhow!("loading {name}: {error}");
    };
    debug!("{name}: {verifier_log}");
    anyhow!("the kernel rejected {name}: {io_error}; RUST_LOG=debug shows the verifier's log")
}
