//! # A guest without SNP
//!
//! A few instructions that a real VMRUN executes, to show that the rig leaves such guests alone.

use anyhow::{Context, Result, ensure};
use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

use crate::memory::GuestMemory;
use crate::message::PAGE;
use crate::outcome::Outcome;
use crate::reruns::Reruns;

/// `mov $0x42,%al; out %al,$0x10; hlt`, and padding that never runs.
const CODE: [u8; 8] = [0xb0, 0x42, 0xe6, 0x10, 0xf4, 0, 0, 0];

pub struct OrdinaryVm {
    vcpu: VcpuFd,
    pub reruns: Reruns,
    // the VM is dropped before its memory
    _vm: VmFd,
    _memory: GuestMemory,
}

impl OrdinaryVm {
    pub fn new() -> Result<Self> {
        let kvm = Kvm::new().context("/dev/kvm")?;
        let vm = kvm.create_vm().context("KVM_CREATE_VM")?;
        let memory = GuestMemory::new(PAGE)?;
        memory.write(0, &CODE)?;
        let region = kvm_userspace_memory_region {
            memory_size: memory.size() as u64,
            userspace_addr: memory.host_address(),
            ..Default::default()
        };
        // SAFETY: the region is all of a mapping that outlives the VM.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        let vcpu = vm.create_vcpu(0).context("KVM_CREATE_VCPU")?;
        let mut sregs = vcpu.get_sregs().context("KVM_GET_SREGS")?;
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        vcpu.set_sregs(&sregs).context("KVM_SET_SREGS")?;
        Ok(Self { vcpu, reruns: Reruns::default(), _vm: vm, _memory: memory })
    }

    /// Runs the code once from its start to its HLT.
    pub fn run(&mut self) -> Result<Outcome> {
        self.vcpu
            .set_regs(&kvm_regs { rflags: 2, ..Default::default() })
            .context("KVM_SET_REGS")?;
        let mut written = false;
        loop {
            let result = self.vcpu.run();
            if let Err(e) = &result
                && self.reruns.repeat(e.errno())
            {
                continue;
            }
            self.reruns.over();
            match result {
                Ok(VcpuExit::IoOut(0x10, [0x42])) => written = true,
                Ok(VcpuExit::Hlt) => break,
                Ok(_) => return Ok(Outcome::Exit(self.vcpu.get_kvm_run().exit_reason)),
                Err(e) => return Ok(Outcome::Errno(e.errno())),
            }
        }
        ensure!(written, "the guest halted without its output");
        Ok(Outcome::Ok)
    }
}
