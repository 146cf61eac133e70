//! # An SNP VM
//!
//! Created and launched through the KVM API as a VMM does, but without code: the rig's VMRUN only
//! does VMGEXIT and HLT.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kvm_bindings::{
    KVM_X86_SNP_VM, kvm_sev_init, kvm_sev_snp_launch_finish, kvm_sev_snp_launch_start,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VmFd};

use crate::attack::cue::Cue;
use crate::cli::{Behavior, Options};
use crate::launch::{
    Abandon, LaunchOptions, LaunchReport, Launched, Refused, monotonic_ns, result,
};
use crate::measured::Measured;
use crate::memory::GuestMemory;
use crate::sev_command::{INIT2, SNP_ENABLE_REQ_CERTS, SNP_LAUNCH_FINISH, SNP_LAUNCH_START};
use crate::sim::Sim;
use crate::vcpu::{Shared, Vcpu, memory_size};

/// SMT allowed, and a bit that the ABI requires.
const POLICY: u64 = 0x30000;
/// A bit that KVM rejects.
const NO_POLICY: u64 = 1 << 63;
/// Requires firmware ABI 255.255, which only the PSP checks.
const FUTURE_ABI: u64 = 0xffff;

pub struct SnpVm {
    vcpus: Vec<Vcpu>,
    // the VM is dropped before its memory
    _vm: VmFd,
    _shared: Arc<Shared>,
    _measured: Option<Measured>,
}

/// A VM that is not launched yet.
struct Draft {
    vcpus: Vec<Vcpu>,
    vm: VmFd,
    psp: u32,
    shared: Arc<Shared>,
    measured: Option<Measured>,
    /// How many pages were measured.
    pages: u32,
}

impl Draft {
    fn new(options: &Options) -> Result<Self> {
        let Options { vcpus, compat, behavior: Behavior { certs, certs_error, .. }, .. } = *options;
        let kvm = Kvm::new().context("/dev/kvm")?;
        let vm = kvm.create_vm_with_type(u64::from(KVM_X86_SNP_VM)).context("KVM_CREATE_VM")?;
        let sev = OpenOptions::new().read(true).write(true).open("/dev/sev").context("/dev/sev")?;
        let psp = sev.as_raw_fd() as u32;

        INIT2.issue(&vm, psp, &mut kvm_sev_init::default())?;
        if certs {
            SNP_ENABLE_REQ_CERTS.issue(&vm, psp, &mut ())?;
        }
        let shared = Arc::new(Shared {
            sim: Sim::open()?,
            _sev: sev,
            memory: Arc::new(GuestMemory::new(memory_size(vcpus))?),
            compat,
        });
        let region = kvm_userspace_memory_region {
            memory_size: shared.memory.size() as u64,
            userspace_addr: shared.memory.host_address(),
            ..Default::default()
        };
        // SAFETY: the region is all of a mapping that outlives the VM.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;

        let mut made = Vec::new();
        for i in 0..vcpus {
            let fd = vm.create_vcpu(u64::from(i)).context("KVM_CREATE_VCPU")?;
            made.push(Vcpu::new(fd, i, shared.clone(), certs_error));
        }
        let pages = options.launch.pages;
        let measured = (pages > 0).then(|| Measured::new(&vm, pages)).transpose()?;
        Ok(Self { vcpus: made, vm, psp, shared, measured, pages: 0 })
    }

    /// None if it is abandoned.
    fn launch(&mut self, options: &LaunchOptions) -> Launched<()> {
        self.start(POLICY)?;
        if options.abandon == Some(Abandon::Start) {
            return Ok(None);
        }
        self.measure(options.first_half())?;
        Cue::new(options.launch_cue.as_ref()).wait();
        if options.abandon == Some(Abandon::Update) {
            return Ok(None);
        }
        self.measure(options.second_half())?;
        self.finish()?;
        Ok(Some(()))
    }

    /// Creates its guest context.
    fn start(&self, policy: u64) -> Result<(), Refused> {
        let mut start = kvm_sev_snp_launch_start { policy, ..Default::default() };
        SNP_LAUNCH_START.issue(&self.vm, self.psp, &mut start)
    }

    fn measure(&mut self, pages: Range<u32>) -> Result<(), Refused> {
        match &self.measured {
            Some(measured) => measured.measure(&self.vm, self.psp, pages, &mut self.pages),
            None => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), Refused> {
        let mut finish = kvm_sev_snp_launch_finish::default();
        SNP_LAUNCH_FINISH.issue(&self.vm, self.psp, &mut finish)
    }
}

impl SnpVm {
    /// Creates a VM and launches it; it does not run yet.
    pub fn launch(options: &Options, name: &str) -> Result<(LaunchReport, Launched<Self>)> {
        let mut draft = Draft::new(options)?;
        let begin_ns = monotonic_ns();
        let launched = draft.launch(&options.launch);
        let report = LaunchReport {
            name: name.to_owned(),
            begin_ns,
            duration_ns: monotonic_ns() - begin_ns,
            pages: draft.pages,
            vcpus: options.vcpus,
            result: result(&launched),
        };
        let Draft { vcpus, vm, shared, measured, .. } = draft;
        let vm = Self { vcpus, _vm: vm, _shared: shared, _measured: measured };
        if options.launch.leave_open && matches!(launched, Ok(None)) {
            // The kernel closes it.
            std::mem::forget(vm);
            return Ok((report, Ok(None)));
        }
        Ok((report, launched.map(|end| end.map(|()| vm))))
    }

    /// What each vCPU does first.
    pub fn boot(&mut self) -> Result<()> {
        self.vcpus.iter_mut().try_for_each(Vcpu::register_ghcb)
    }

    /// A failed launch: refused by KVM, refused by the PSP, or not finished, in turn.
    pub fn fail(options: &Options, turn: u32) -> Result<()> {
        let draft = Draft::new(options)?;
        match turn % 3 {
            0 => ensure!(draft.start(POLICY | NO_POLICY).is_err(), "KVM took any policy"),
            1 => ensure!(draft.start(POLICY | FUTURE_ABI).is_err(), "the PSP took any policy"),
            _ => draft.start(POLICY)?,
        }
        Ok(())
    }

    /// The vCPUs, one for each thread. The VM must be kept meanwhile.
    pub fn take_vcpus(&mut self) -> Vec<Vcpu> {
        std::mem::take(&mut self.vcpus)
    }
}
