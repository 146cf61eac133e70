//! # Loading the programs and attaching them
//!
//! Modules come and go: a probe on a function of a module that was unloaded is
//! dead, and one on a tracepoint keeps its module from being unloaded. So probes
//! follow their modules, by the identity of their folder in sysfs.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, MapData, ProgramArray, Stack},
    programs::{
        KProbe, Lsm, ProgramError, RawTracePoint,
        links::{FdLink, PinnedLink},
    },
};
use guestreq_common::vm::Life;
use log::{debug, info, warn};

use super::{
    bpf,
    fault::{self, Point},
    kernel,
    pins::{self, Found, Pins},
    probes::{FALLBACK, IOCTL_ENTRY, Kind, PROBES, Probe, WANTS_LOCK},
    records::Records,
    undisturbed::Undisturbed,
    words::KernelWords,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("GUESTREQ_EBPF"));

/// Room for vCPU threads (80 bytes each) and guest contexts, on average over all VMs.
const THREADS_PER_VM: u32 = 32;
const CONTEXTS_PER_VM: u32 = 4;

struct Attached {
    link: FdLink,
    /// Where the link outlives us.
    pin: Option<PathBuf>,
    id: u32,
    /// The program that is attached: an earlier agent's, perhaps.
    program: OwnedFd,
    module: Option<u64>,
}

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
            None => Ok(Cow::Borrowed(OBJECT)),
            Some(path) => {
                let object = fs::read(path).with_context(|| format!("{}", path.display()))?;
                Ok(Cow::Owned(object))
            }
        }
    }
}

pub struct Programs {
    ebpf: Ebpf,
    pins: Option<Pins>,
    adopted: bool,
    /// What is pinned stays when we go: an earlier agent pinned it, or this one has started.
    stays: bool,
    max_vms: u32,
    attached: BTreeMap<&'static str, Attached>,
    without: Vec<String>,
    lsm: bool,
    /// Why a probe is not attached.
    trouble: BTreeMap<&'static str, Trouble>,
    /// Hits that were missed by links that are gone.
    missed_before: u64,
}

/// Why a probe is not attached; it is tried again once its module has changed, or after a while.
struct Trouble {
    reason: String,
    module: Option<u64>,
    since: Instant,
}

impl Trouble {
    const RETRY: Duration = Duration::from_secs(60);

    fn is_worth_a_try(&self, module: Option<u64>) -> bool {
        self.module != module || self.since.elapsed() >= Trouble::RETRY
    }
}

/// Hits that the kernel skipped.
///
/// A kprobe's program is skipped while bpf(2) works on a map on its CPU, or another
/// program runs there. A raw tracepoint's is skipped where another task's run of it was preempted
/// (Linux 7 runs tracepoints preemptibly): that costs what guests are told and which
/// requests are extended, never a count of requests.
pub struct Missed {
    pub probes: u64,
    pub tracepoints: u64,
}

/// What is known of a program.
pub struct ProgramState {
    pub name: &'static str,
    pub runs: u64,
    pub run_seconds: f64,
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
        let (max_vms, threads) = geometry(wanted.max_vms, pins.as_ref())?;
        let symbols = kernel::Symbols::read()?;
        // One loader for both: a new one reads the kernel's BTF, which takes a while.
        let mut loader = EbpfLoader::new();
        let object = wanted.object()?;
        let words = KernelWords::read(&mut loader, &object, &symbols)?;
        // Of this version, and enforcing: not what was put aside, nor what an agent died over.
        let adopted = pins.as_ref().is_some_and(|pins| pins.find_link(IOCTL_ENTRY).is_some());
        if let Some(pins) = &pins {
            pins.make_folders()?;
            pins.drop_uncommitted()?;
            for (map, ..) in pins::MAPS {
                loader.map_pin_path(map, pins.map(map));
            }
        }
        let undisturbed = Undisturbed::begin();
        let ebpf = loader
            .override_global("PAGE_OFFSET", &words.page_offset, true)
            .override_global("ENCRYPTION_MASK", &words.encryption_mask, true)
            .map_max_entries("VMS", max_vms)
            .map_max_entries("FREE_SLOTS", max_vms)
            .map_max_entries("VM_OF_PROCESS", max_vms)
            .override_global("THREAD_MASK", &(threads - 1), true)
            .map_max_entries("THREADS", threads)
            .map_max_entries("CONTEXTS", max_vms.saturating_mul(CONTEXTS_PER_VM))
            .load(&object)
            .context("loading the eBPF maps")?;
        drop(undisturbed);
        fault::point(Point::Maps);
        let mut programs = Programs {
            ebpf,
            pins,
            adopted,
            stays,
            max_vms,
            attached: BTreeMap::new(),
            without: wanted.without.to_vec(),
            lsm: wanted.lsm,
            trouble: BTreeMap::new(),
            missed_before: 0,
        };
        programs.load_all()?;
        Ok(programs)
    }

    /// Loads each hook's two programs, and puts the second in its place.
    fn load_all(&mut self) -> Result<()> {
        // Read only where it is needed, as it is large. Without it only what needs it is lost.
        let btf = if self.lsm { Btf::from_sys_fs().ok() } else { None };
        for probe in &PROBES {
            match self.load_one(probe, btf.as_ref()) {
                Ok(()) => {}
                Err(error) if probe.loses.is_some() && matches!(probe.kind, Kind::Lsm) => {
                    self.report(probe, None, &error);
                    self.without.push(probe.name.to_owned());
                }
                Err(error) => return Err(error),
            }
            fault::point(Point::Placed(probe.program));
        }
        Ok(())
    }

    fn load_one(&mut self, probe: &Probe, btf: Option<&Btf>) -> Result<()> {
        if matches!(probe.kind, Kind::Lsm) && !self.lsm {
            return Ok(());
        }
        let (array, place) = probe.place;
        // What a program jumps to is there before it is.
        let places = probe.then.into_iter().chain([(probe.program, place)]);
        let programs = places.clone().map(|(program, _)| program);
        for name in [probe.entry].into_iter().chain(programs) {
            let program = self.ebpf.program_mut(name).context(name)?;
            match (&probe.kind, btf) {
                (Kind::Kprobe, _) => <&mut KProbe>::try_from(program)?.load(),
                (Kind::RawTracepoint, _) => <&mut RawTracePoint>::try_from(program)?.load(),
                (Kind::Lsm, Some(btf)) => <&mut Lsm>::try_from(program)?.load(probe.target, btf),
                (Kind::Lsm, None) => return Err(kernel::no_btf().into()),
            }
            .map_err(|error| refused(probe.name, &error))?;
        }
        for (name, place) in places {
            let program = self.ebpf.program(name).context(name)?.fd()?.try_clone()?;
            let array = self.ebpf.map_mut(array).context(array)?;
            ProgramArray::try_from(array)?
                .set(place, &program, 0)
                .with_context(|| format!("putting {name} in its place"))?;
        }
        Ok(())
    }

    /// How many VMs there is room for.
    pub fn max_vms(&self) -> u32 {
        self.max_vms
    }

    /// Fills the free slots of new maps. Of adopted ones, offers again what an agent that died
    /// may not have offered.
    pub fn settle_slots(&mut self, records: &Records) -> Result<()> {
        if records.are_new() {
            // What an agent pushed that died here. Nothing is attached yet that would take one.
            while self.free_slots()?.pop(0).is_ok() {}
            // The lowest slot on top: what was never used stays together at the end.
            for slot in (0..self.max_vms).rev() {
                let _ = self.free_slots()?.push(slot, 0);
            }
            records.sign();
            return Ok(());
        }
        for slot in 0..records.max_vms() {
            let Some((_, life)) = records.peek(slot) else { break };
            if life == Life::Clearing as u32 {
                let _undisturbed = Undisturbed::begin();
                let _ = self.free_slots()?.push(slot as u32, 0);
                records.set_free(slot);
            }
        }
        Ok(())
    }

    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    fn free_slots(&mut self) -> Result<Stack<&mut MapData, u32>> {
        let map = self.ebpf.map_mut("FREE_SLOTS").context("no map FREE_SLOTS")?;
        Ok(Stack::try_from(map)?)
    }

    /// Gives a slot back that its VM no longer needs.
    pub fn free_slot(&mut self, slot: u32) -> Result<()> {
        let _undisturbed = Undisturbed::begin();
        self.free_slots()?.push(slot, 0).with_context(|| format!("freeing slot {slot}"))
    }

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
                self.missed_before += bpf::link_missed(attached.id).unwrap_or(0);
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

    fn unwanted(&self, probe: &Probe) -> bool {
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
        fault::point(Point::Attached(probe.entry));
        let attached = self.pin(probe, attached)?;
        self.attached.insert(probe.name, attached);
        Ok("attached")
    }

    fn attach_anew(&mut self, probe: &Probe, module: Option<u64>) -> Result<Attached> {
        let program = self.ebpf.program_mut(probe.entry).context(probe.entry)?;
        let fd = program.fd()?.as_fd().try_clone_to_owned()?;
        let link: FdLink = match probe.kind {
            Kind::Kprobe => {
                let program: &mut KProbe = program.try_into()?;
                let id = program.attach(probe.target, 0)?;
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
        if let Err(error) = bpf::link_missed(id) {
            warn!("{}: hits that the kernel cannot deliver are not counted ({error})", probe.name);
        }
        Ok(Attached { link, pin: None, id, program: fd, module })
    }

    /// Pins a new link, and the program that it attaches: what the next agent compares.
    fn pin(&self, probe: &Probe, attached: Attached) -> Result<Attached> {
        let Some(pins) = &self.pins else { return Ok(attached) };
        let path = pins.program(probe.entry);
        if path.exists() {
            unpin(&path);
        }
        bpf::pin(attached.program.as_fd(), &path).with_context(|| format!("{}", path.display()))?;
        fault::point(Point::ProgramPinned(probe.entry));
        let path = pins.link(probe.entry, attached.module);
        let link = attached.link.pin(pins.new_link(&path))?.into();
        pins.commit(&path)?;
        Ok(Attached { link, pin: Some(path), ..attached })
    }

    /// A pinned link, if it is of the very program that this version would attach.
    fn adopt(&self, probe: &Probe, path: &Path) -> Result<Attached> {
        let link: FdLink = PinnedLink::from_pin(path)?.into();
        let info = link.info()?;
        let pins = self.pins.as_ref().context("nothing is pinned")?;
        let program = bpf::get_pinned(&pins.program(probe.entry))?;
        let (id, tag) = bpf::program_identity(program.as_fd())?;
        let ours = self.ebpf.program(probe.entry).context(probe.entry)?.fd()?.as_fd();
        if id != info.program_id() {
            bail!("the link's program is not the one that is pinned beside it");
        }
        if tag != bpf::program_identity(ours)?.1 {
            bail!("another version's program");
        }
        Ok(Attached { link, pin: Some(path.to_owned()), id: info.id(), program, module: None })
    }

    /// Lets go of everything, for good: from the beginning of a request to its end.
    pub fn detach(&mut self) -> Result<()> {
        self.attached.clear();
        if self.pins.take().is_some() {
            pins::remove_all(&detach_order())?;
        }
        Ok(())
    }

    /// This agent has started: from now on what it pinned is there for the next one.
    pub fn commit(&mut self) {
        self.stays = true;
    }

    /// Whether what is attached will outlive us.
    pub fn outlive_us(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::exist)
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

    /// Whether an earlier agent's maps are used on, and it enforced by them.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Ends what another version left, now that this one's stands.
    pub fn drop_old(&self) {
        let Some(pins) = &self.pins else { return };
        let (dropped, errors) = pins.drop_old();
        if dropped {
            info!("another version's programs are detached");
        }
        for error in errors {
            warn!("what was put aside beside {} is left: {error:#}", pins::ROOT);
        }
    }

    pub fn is_attached(&self, name: &str) -> bool {
        self.attached.contains_key(name)
    }

    /// Why a probe is not attached.
    pub fn trouble(&self, name: &str) -> Option<&str> {
        self.trouble.get(name).map(|trouble| trouble.reason.as_str())
    }

    /// Says once why a probe is not attached, and what that costs.
    fn report(&mut self, probe: &Probe, module: Option<u64>, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if self.trouble.get(probe.name).is_none_or(|old| old.reason != reason) {
            let loses = probe.loses.unwrap_or("everything");
            warn!("{} cannot be attached ({reason}): lost is {loses}", probe.name);
        }
        self.trouble.insert(probe.name, Trouble { reason, module, since: Instant::now() });
    }

    /// Forgets which slot a process has, if it still is this one.
    pub fn forget_process(&mut self, tgid: u32, slot: u32) -> Result<()> {
        let _undisturbed = Undisturbed::begin();
        let map = self.ebpf.map_mut("VM_OF_PROCESS").context("no map VM_OF_PROCESS")?;
        let mut slots: HashMap<_, u32, u32> = HashMap::try_from(map)?;
        if slots.get(&tgid, 0).is_ok_and(|found| found == slot) {
            slots.remove(&tgid)?;
        }
        Ok(())
    }

    /// Why nothing, or not everything, can be counted.
    pub fn not_ready(&self) -> Option<String> {
        let mut missing = PROBES
            .iter()
            .filter(|probe| probe.loses.is_none() && !self.attached.contains_key(probe.name));
        let probe = missing.next()?;
        let reason = match self.trouble.get(probe.name) {
            Some(trouble) => trouble.reason.as_str(),
            None => "not attached",
        };
        Some(format!("{}: {reason}", probe.name))
    }

    /// Every probe that is needed, and whether it is attached.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let needed = |probe: &&Probe| match probe.kind {
            Kind::Lsm => self.lsm,
            _ => probe.name != FALLBACK || !self.attached.contains_key(WANTS_LOCK),
        };
        let state = |probe: &Probe| (probe.name, self.attached.contains_key(probe.name));
        PROBES.iter().filter(needed).map(state)
    }

    /// Hits that the kernel skipped: of kprobes, which count, and of tracepoints.
    pub fn missed(&self) -> Missed {
        let mut missed = Missed { probes: self.missed_before, tracepoints: 0 };
        for attached in self.attached.values() {
            missed.probes += bpf::link_missed(attached.id).unwrap_or(0);
        }
        for probe in &PROBES {
            let skipped = self.counters(probe).map_or(0, |counters| counters.missed);
            match probe.kind {
                Kind::Kprobe => missed.probes += skipped,
                Kind::RawTracepoint => missed.tracepoints += skipped,
                // Never skipped: the kernel does not look for recursion there.
                Kind::Lsm => {}
            }
        }
        missed
    }

    fn counters(&self, probe: &Probe) -> Option<bpf::ProgramCounters> {
        bpf::program_counters(self.attached.get(probe.name)?.program.as_fd()).ok()
    }

    /// The kernel's own statistics of our programs; zeros while they are off.
    pub fn states(&self) -> Vec<ProgramState> {
        let mut states = Vec::new();
        for probe in &PROBES {
            if let Some(counters) = self.counters(probe) {
                states.push(ProgramState {
                    name: probe.program,
                    runs: counters.runs,
                    run_seconds: counters.run_ns as f64 / 1e9,
                });
            }
        }
        states
    }

    pub fn capacity(&self, map: &str) -> Option<u32> {
        match self.ebpf.map(map)? {
            aya::maps::Map::HashMap(data) | aya::maps::Map::Array(data) => {
                data.info().ok().map(|info| info.max_entries())
            }
            _ => None,
        }
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

fn unpin(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!("{}: {error}", path.display());
    }
}

/// For how many VMs and threads: pinned maps keep the sizes that they were made with.
fn geometry(max_vms: u32, pins: Option<&Pins>) -> Result<(u32, u32)> {
    let threads = max_vms.saturating_mul(THREADS_PER_VM).next_power_of_two();
    let Some(pins) = pins else { return Ok((max_vms, threads)) };
    match pins.look() {
        Found::Nothing => Ok((max_vms, threads)),
        Found::Ours { max_vms: pinned, threads } => {
            info!("taking over what an earlier agent left at {}", pins::ROOT);
            if pinned != max_vms {
                warn!(
                    "the maps at {} have room for {pinned} VMs, not for {max_vms}: \
                     `guestreq detach` first, if max_vms is to change",
                    pins::ROOT
                );
            }
            Ok((pinned, threads))
        }
        Found::Foreign(why) => {
            warn!(
                "what is pinned at {} cannot be taken over ({why}): it stays attached until this \
                 version's programs stand beside it; its counts end with it",
                pins::ROOT
            );
            pins.put_aside()?;
            Ok((max_vms, threads))
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

/// A module's folder is a new one each time it is loaded.
pub fn module_identity(name: &str) -> Option<u64> {
    fs::metadata(format!("/sys/module/{name}")).ok().map(|metadata| metadata.ino())
}
