//! # An SNP VM
//!
//! Created through the KVM API as a VMM does, but without measured memory or code: the rig's VMRUN
//! only does VMGEXIT and HLT.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use kvm_bindings::{
    KVM_X86_SNP_VM, kvm_sev_cmd, kvm_sev_init, kvm_sev_snp_launch_finish, kvm_sev_snp_launch_start,
    kvm_userspace_memory_region, sev_cmd_id_KVM_SEV_INIT2, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH,
    sev_cmd_id_KVM_SEV_SNP_LAUNCH_START,
};
use kvm_ioctls::{Kvm, VmFd};

use crate::cli::{Behavior, Options};
use crate::memory::GuestMemory;
use crate::sim::Sim;
use crate::vcpu::{Shared, Vcpu, memory_size};

/// Newer than the bindings: Linux 7.0.
const SEV_SNP_ENABLE_REQ_CERTS: u32 = 103;

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
}

/// A VM that is not launched yet.
struct Draft {
    vcpus: Vec<Vcpu>,
    vm: VmFd,
    psp: u32,
    shared: Arc<Shared>,
}

impl Draft {
    fn new(options: &Options) -> Result<Self> {
        let Options { vcpus, compat, behavior: Behavior { certs, certs_error, .. }, .. } = *options;
        let kvm = Kvm::new().context("/dev/kvm")?;
        let vm = kvm.create_vm_with_type(u64::from(KVM_X86_SNP_VM)).context("KVM_CREATE_VM")?;
        let sev = OpenOptions::new().read(true).write(true).open("/dev/sev").context("/dev/sev")?;
        let psp = sev.as_raw_fd() as u32;

        sev_command(&vm, psp, sev_cmd_id_KVM_SEV_INIT2, &mut kvm_sev_init::default())
            .context("KVM_SEV_INIT2")?;
        if certs {
            sev_command(&vm, psp, SEV_SNP_ENABLE_REQ_CERTS, &mut ())
                .context("KVM_SEV_SNP_ENABLE_REQ_CERTS (from Linux 7.0)")?;
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
        Ok(Self { vcpus: made, vm, psp, shared })
    }

    /// Creates its guest context.
    fn start(&self, policy: u64) -> Result<()> {
        let mut start = kvm_sev_snp_launch_start { policy, ..Default::default() };
        sev_command(&self.vm, self.psp, sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, &mut start)
            .context("KVM_SEV_SNP_LAUNCH_START")
    }

    fn finish(self) -> Result<SnpVm> {
        let mut finish = kvm_sev_snp_launch_finish::default();
        sev_command(&self.vm, self.psp, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH, &mut finish)
            .context("KVM_SEV_SNP_LAUNCH_FINISH")?;
        let Self { vcpus, vm, shared, .. } = self;
        Ok(SnpVm { vcpus, _vm: vm, _shared: shared })
    }
}

impl SnpVm {
    /// Launched, but not yet run.
    pub fn new(options: &Options) -> Result<Self> {
        let draft = Draft::new(options)?;
        draft.start(POLICY)?;
        draft.finish()
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

fn sev_command<T>(vm: &VmFd, psp: u32, id: u32, data: &mut T) -> Result<()> {
    let mut command = kvm_sev_cmd {
        id,
        data: if size_of::<T>() == 0 { 0 } else { std::ptr::from_mut(data) as u64 },
        sev_fd: psp,
        ..Default::default()
    };
    vm.encrypt_op_sev(&mut command)
        .map_err(|e| anyhow!("{e}, firmware status {:#x}", command.error))
}
