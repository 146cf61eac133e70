//! # An SNP VM
//!
//! Made through the KVM API as a VMM makes it, except that no memory is measured
//! and no code is loaded: the rig's VMRUN does nothing but VMGEXIT and HLT.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use kvm_bindings::{
    KVM_X86_SNP_VM, kvm_sev_cmd, kvm_sev_init, kvm_sev_snp_launch_finish, kvm_sev_snp_launch_start,
    kvm_userspace_memory_region, sev_cmd_id_KVM_SEV_INIT2, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH,
    sev_cmd_id_KVM_SEV_SNP_LAUNCH_START,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

use crate::cli::CertsError;
use crate::ghcb::{Ghcb, MSR_REGISTER, PROTOCOL, PROTOCOL_VERSION, SW_EXIT_INFO_1, SW_EXIT_INFO_2};
use crate::memory::GuestMemory;
use crate::message::{HEADER, PAGE};
use crate::report::Outcome;
use crate::sim::Sim;

/// Newer than the bindings: Linux 7.0.
const SEV_SNP_ENABLE_REQ_CERTS: u32 = 103;
const EXIT_SNP_REQ_CERTS: u32 = 43;
/// `ret` in the exit's part of struct kvm_run, after gpa and npages.
const REQ_CERTS_RET: usize = 16;

/// SMT allowed, and a bit that the ABI wants set.
const POLICY: u64 = 0x30000;

/// Each vCPU has four pages: GHCB, request, response, certificates. Page 0 is
/// left alone, since a GHCB at 0 means none.
const PAGES_PER_VCPU: usize = 4;

/// What a VM keeps for as long as any of its vCPUs.
struct Shared {
    sim: Sim,
    /// KVM knows it by its number only, and looks it up for each guest request
    _sev: File,
    memory: GuestMemory,
}

pub struct SnpVm {
    vcpus: Vec<Vcpu>,
    // the VM goes before the memory that it uses
    _vm: VmFd,
    _shared: Arc<Shared>,
}

pub struct Vcpu {
    fd: VcpuFd,
    shared: Arc<Shared>,
    ghcb: u64,
    certs_answer: u64,
    /// KVM_RUNs that were repeated because of EINTR or EAGAIN
    pub reruns: u64,
}

impl SnpVm {
    pub fn new(vcpus: u32, certs: bool, certs_error: Option<CertsError>) -> Result<Self> {
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
            memory: GuestMemory::new((1 + PAGES_PER_VCPU * vcpus as usize) * PAGE)?,
        });
        let region = kvm_userspace_memory_region {
            memory_size: shared.memory.size() as u64,
            userspace_addr: shared.memory.host_address(),
            ..Default::default()
        };
        // SAFETY: the region is all of a mapping that outlives the VM.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;

        let certs_answer = certs_answer(certs_error);
        let mut made = Vec::new();
        for i in 0..vcpus {
            made.push(Vcpu {
                fd: vm.create_vcpu(u64::from(i)).context("KVM_CREATE_VCPU")?,
                shared: shared.clone(),
                ghcb: ((1 + PAGES_PER_VCPU * i as usize) * PAGE) as u64,
                certs_answer,
                reruns: 0,
            });
        }

        let mut start = kvm_sev_snp_launch_start { policy: POLICY, ..Default::default() };
        sev_command(&vm, psp, sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, &mut start)
            .context("KVM_SEV_SNP_LAUNCH_START")?;
        let mut finish = kvm_sev_snp_launch_finish::default();
        sev_command(&vm, psp, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH, &mut finish)
            .context("KVM_SEV_SNP_LAUNCH_FINISH")?;
        for vcpu in &mut made {
            vcpu.register_ghcb()?;
        }
        Ok(Self { vcpus: made, _vm: vm, _shared: shared })
    }

    /// The vCPUs, each for a thread to run. The VM is to be kept meanwhile.
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

/// What KVM expects in `ret` of the exit, and makes the guest's VMM code of.
fn certs_answer(error: Option<CertsError>) -> u64 {
    let errno = match error {
        None => 0,
        Some(CertsError::InvalidLen) => libc::ENOSPC,
        Some(CertsError::Busy) => libc::EAGAIN,
        Some(CertsError::Generic) => libc::EIO,
    };
    errno as u64
}

/// How a KVM_RUN ended, with repeated ones counted as one.
enum Run {
    Halted,
    OtherExit(u32),
    Failed(i32),
}

impl Vcpu {
    pub fn request_gpa(&self) -> u64 {
        self.ghcb + PAGE as u64
    }

    pub fn response_gpa(&self) -> u64 {
        self.ghcb + 2 * PAGE as u64
    }

    pub fn certificates_gpa(&self) -> u64 {
        self.ghcb + 3 * PAGE as u64
    }

    /// An address that is none of the guest's.
    pub fn beyond_memory(&self) -> u64 {
        (self.shared.memory.size() as u64).next_multiple_of(1 << 20) + (1 << 20)
    }

    pub fn put_message(&self, header: &[u8; HEADER]) -> Result<()> {
        self.shared.memory.write(self.request_gpa(), header)
    }

    /// One VMGEXIT: KVM_RUN until the guest goes on, which in the rig means HLT.
    pub fn vmgexit(&mut self, ghcb: &Ghcb) -> Result<Outcome> {
        self.shared.memory.write(self.ghcb, ghcb.bytes())?;
        let outcome = match self.run() {
            Run::Halted => {
                let info_1 = self.shared.memory.read_u64(self.ghcb + SW_EXIT_INFO_1 as u64)?;
                let info_2 = self.shared.memory.read_u64(self.ghcb + SW_EXIT_INFO_2 as u64)?;
                return Ok(Outcome::from_exit_info(info_1, info_2));
            }
            Run::OtherExit(reason) => Outcome::Exit(reason),
            Run::Failed(errno) => Outcome::Errno(errno),
        };
        // the guest is in the middle of something: begin anew next time
        self.shared.sim.ghcb_msr(&self.fd, self.ghcb)?;
        Ok(outcome)
    }

    fn run(&mut self) -> Run {
        loop {
            let exit = match self.fd.run() {
                Ok(VcpuExit::Hlt) => return Run::Halted,
                Ok(VcpuExit::Unsupported(EXIT_SNP_REQ_CERTS)) => None,
                Ok(_) => Some(Run::OtherExit(self.fd.get_kvm_run().exit_reason)),
                // every VMM goes on after these
                Err(e) if e.errno() == libc::EINTR || e.errno() == libc::EAGAIN => {
                    self.reruns += 1;
                    continue;
                }
                Err(e) => Some(Run::Failed(e.errno())),
            };
            match exit {
                Some(exit) => return exit,
                None => self.answer_certs_exit(),
            }
        }
    }

    /// There are no certificates to give, only the answer; KVM goes on with the
    /// request in the next KVM_RUN.
    fn answer_certs_exit(&mut self) {
        let run = self.fd.get_kvm_run();
        // SAFETY: padding covers the whole union, of which it is a plain view.
        let exit = unsafe { &mut run.__bindgen_anon_1.padding };
        for (to, from) in exit[REQ_CERTS_RET..].iter_mut().zip(self.certs_answer.to_le_bytes()) {
            *to = from as _;
        }
    }

    /// As every SNP guest does first: tell the hypervisor where the GHCB is.
    fn register_ghcb(&mut self) -> Result<()> {
        self.shared.memory.write(self.ghcb + PROTOCOL_VERSION as u64, &PROTOCOL)?;
        self.shared.sim.ghcb_msr(&self.fd, self.ghcb | MSR_REGISTER)?;
        match self.run() {
            Run::Halted => {}
            Run::OtherExit(reason) => return Err(anyhow!("GHCB registration: exit {reason}")),
            Run::Failed(errno) => {
                return Err(std::io::Error::from_raw_os_error(errno)).context("GHCB registration");
            }
        }
        self.shared.sim.ghcb_msr(&self.fd, self.ghcb)?;
        Ok(())
    }
}
