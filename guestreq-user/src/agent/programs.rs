//! # Loading the programs and attaching them
//!
//! Modules come and go: a probe on a function of a module that was unloaded is
//! dead, and one on a tracepoint keeps its module from being unloaded. So probes
//! follow their modules, by the identity of their folder in sysfs.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::AsFd as _,
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, Stack},
    programs::{
        KProbe, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _, links::FdLink,
    },
};
use log::{debug, info, warn};

use super::{bpf, kernel};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("GUESTREQ_EBPF"));

/// Room for vCPU threads (80 bytes each) and guest contexts, on average over all VMs.
const THREADS_PER_VM: u32 = 32;
const CONTEXTS_PER_VM: u32 = 4;

enum Kind {
    /// Also return probes: the program says which.
    Kprobe,
    RawTracepoint,
}

/// A program, and where it belongs.
pub struct Probe {
    /// What users see, in logs and in `guestreq_probe_attached`.
    pub name: &'static str,
    program: &'static str,
    kind: Kind,
    target: &'static str,
    /// With which module it comes and goes.
    module: Option<&'static str>,
    /// What is lost without it; `None` where nothing can be counted at all.
    loses: Option<&'static str>,
}

/// Stands in for [`WANTS_LOCK`], and is attached only while that is not: it runs for every VMGEXIT.
const FALLBACK: &str = "raw_tracepoint/kvm_vmgexit_enter";
const WANTS_LOCK: &str = "kprobe/snp_handle_guest_req";

/// In the order of attaching: from the end of a request to its beginning, so that none is
/// seen half. The tracepoints are kvm's, but follow kvm_amd: they would keep kvm loaded.
pub const PROBES: [Probe; 8] = [
    Probe {
        name: "raw_tracepoint/sched_process_exit",
        program: "thread_exit",
        kind: Kind::RawTracepoint,
        target: "sched_process_exit",
        module: None,
        loses: None,
    },
    Probe {
        name: "kretprobe/__sev_do_cmd_locked",
        program: "command_end",
        kind: Kind::Kprobe,
        target: "__sev_do_cmd_locked",
        module: Some("ccp"),
        loses: None,
    },
    Probe {
        name: "kprobe/__sev_do_cmd_locked",
        program: "command_start",
        kind: Kind::Kprobe,
        target: "__sev_do_cmd_locked",
        module: Some("ccp"),
        loses: None,
    },
    Probe {
        name: "kprobe/sev_issue_cmd_external_user",
        program: "issue_command",
        kind: Kind::Kprobe,
        target: "sev_issue_cmd_external_user",
        module: Some("ccp"),
        loses: Some("the time in the PSP's queue, and its length"),
    },
    Probe {
        name: WANTS_LOCK,
        program: "guest_request",
        kind: Kind::Kprobe,
        target: "snp_handle_guest_req",
        module: Some("kvm_amd"),
        loses: Some("the exact moment at which KVM wants the VM's lock (the VMGEXIT's is taken)"),
    },
    Probe {
        name: "raw_tracepoint/kvm_userspace_exit",
        program: "userspace_exit",
        kind: Kind::RawTracepoint,
        target: "kvm_userspace_exit",
        module: Some("kvm_amd"),
        loses: Some("host errors before the PSP, until their vCPU's next request"),
    },
    Probe {
        name: "raw_tracepoint/kvm_vmgexit_exit",
        program: "vmgexit_exit",
        kind: Kind::RawTracepoint,
        target: "kvm_vmgexit_exit",
        module: Some("kvm_amd"),
        loses: Some("what guests are told, and which requests are extended ones"),
    },
    Probe {
        name: FALLBACK,
        program: "vmgexit_enter",
        kind: Kind::RawTracepoint,
        target: "kvm_vmgexit_enter",
        module: Some("kvm_amd"),
        loses: Some("the moment at which KVM wants the VM's lock"),
    },
];

struct Attached {
    link: FdLink,
    id: u32,
    module: Option<u64>,
}

pub struct Programs {
    ebpf: Ebpf,
    attached: BTreeMap<&'static str, Attached>,
    /// Probes that the operator does not want.
    without: Vec<String>,
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
    /// Loads the programs for this kernel; nothing is attached yet.
    pub fn load(max_vms: u32, without: &[String]) -> Result<Programs> {
        for name in without {
            if !PROBES.iter().any(|probe| probe.name == name) {
                let known: Vec<_> = PROBES.iter().map(|probe| probe.name).collect();
                bail!("there is no probe {name:?}; there are {}", known.join(", "));
            }
        }
        let symbols = kernel::Symbols::read()?;
        // One loader for both: a new one reads the kernel's BTF, which takes a while.
        let mut loader = EbpfLoader::new();
        let words = KernelWords::read(&mut loader, &symbols)?;
        let threads = max_vms.saturating_mul(THREADS_PER_VM).next_power_of_two();
        let mut ebpf = loader
            .override_global("PAGE_OFFSET", &words.page_offset, true)
            .override_global("ENCRYPTION_MASK", &words.encryption_mask, true)
            .map_max_entries("VMS", max_vms)
            .map_max_entries("FREE_SLOTS", max_vms)
            .map_max_entries("VM_OF_PROCESS", max_vms)
            .override_global("THREAD_MASK", &(threads - 1), true)
            .map_max_entries("THREADS", threads)
            .map_max_entries("CONTEXTS", max_vms.saturating_mul(CONTEXTS_PER_VM))
            .load(OBJECT)
            .context("loading the eBPF maps")?;
        for probe in &PROBES {
            let program = ebpf.program_mut(probe.program).context(probe.program)?;
            match probe.kind {
                Kind::Kprobe => <&mut KProbe>::try_from(program)?.load(),
                Kind::RawTracepoint => <&mut RawTracePoint>::try_from(program)?.load(),
            }
            .map_err(|error| refused(probe.name, &error))?;
        }
        let mut programs = Programs {
            ebpf,
            attached: BTreeMap::new(),
            without: without.to_vec(),
            trouble: BTreeMap::new(),
            missed_before: 0,
        };
        // The lowest slot on top: what was never used stays together at the end.
        for slot in (0..max_vms).rev() {
            programs.free_slots()?.push(slot, 0).context("filling the free slots")?;
        }
        Ok(programs)
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
                self.attached.remove(probe.name);
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
                Ok(()) => {
                    info!("attached {}", probe.name);
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
    }

    fn attach(&mut self, probe: &Probe, module: Option<u64>) -> Result<()> {
        let program = self.ebpf.program_mut(probe.program).context(probe.program)?;
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
        };
        let id = link.info()?.id();
        if let Err(error) = bpf::link_missed(id) {
            warn!("{}: hits that the kernel cannot deliver are not counted ({error})", probe.name);
        }
        self.attached.insert(probe.name, Attached { link, id, module });
        Ok(())
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
        let needed =
            |probe: &&Probe| probe.name != FALLBACK || !self.attached.contains_key(WANTS_LOCK);
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
            }
        }
        missed
    }

    fn counters(&self, probe: &Probe) -> Option<bpf::ProgramCounters> {
        let program = self.ebpf.program(probe.program)?;
        bpf::program_counters(program.fd().ok()?.as_fd()).ok()
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

impl Drop for Programs {
    fn drop(&mut self) {
        for probe in PROBES.iter().rev() {
            // From the beginning of a request to its end: nothing is counted half.
            drop(self.attached.remove(probe.name).map(|attached| attached.link));
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

/// Kernel memory that is read once, by a program that is run and never attached.
struct KernelWords {
    page_offset: u64,
    encryption_mask: u64,
}

impl KernelWords {
    fn read(loader: &mut EbpfLoader<'_>, symbols: &kernel::Symbols) -> Result<KernelWords> {
        let mut ebpf =
            loader.map_max_entries("VMS", 1).load(OBJECT).context("loading the eBPF maps")?;
        let program: &mut RawTracePoint =
            ebpf.program_mut("read_kernel").context("read_kernel")?.try_into()?;
        program.load().context("loading the program that reads kernel memory")?;
        let mut word = |name: &str| -> Result<u64> {
            let mut options = RawTracePointRunOptions::new();
            options.args[0] = symbols.address(name)?;
            let program: &RawTracePoint =
                ebpf.program("read_kernel").context("read_kernel")?.try_into()?;
            program.test_run(options).with_context(|| format!("reading {name}"))?;
            let map = ebpf.map_mut("WORD").context("no map WORD")?;
            let mut cell: Array<_, [u64; 2]> = Array::try_from(map)?;
            let [value, read] = cell.get(&0, 0)?;
            cell.set(0, [0, 0], 0)?;
            if read == 1 { Ok(value) } else { Err(anyhow!("{name} cannot be read")) }
        };
        Ok(KernelWords {
            page_offset: word("page_offset_base")?,
            encryption_mask: word("sme_me_mask")?,
        })
    }
}
