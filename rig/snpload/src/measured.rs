//! # Measured memory
//!
//! The pages that a VMM measures during a launch: its firmware, in private memory right below
//! 4 GiB, where a PC has its flash. They are zeros, since no guest code runs.

use std::ops::Range;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context, Result};
use kvm_bindings::{
    KVM_MEM_GUEST_MEMFD, KVM_MEMORY_ATTRIBUTE_PRIVATE, KVM_SEV_SNP_PAGE_TYPE_NORMAL,
    kvm_create_guest_memfd, kvm_memory_attributes, kvm_sev_snp_launch_update,
    kvm_userspace_memory_region2,
};
use kvm_ioctls::VmFd;

use crate::launch::Refused;
use crate::memory::GuestMemory;
use crate::message::PAGE;
use crate::sev_command::SNP_LAUNCH_UPDATE;

/// Slot 0 is the guest's RAM.
const SLOT: u32 = 1;
const END: u64 = 4 << 30;

pub struct Measured {
    start: u64,
    /// What the host would see of pages that the guest shares. It stays untouched, and so takes no
    /// memory.
    _shared: GuestMemory,
    /// The private pages. KVM loses them when this is closed.
    _private: OwnedFd,
}

impl Measured {
    /// Gives a VM private memory of this many pages.
    pub fn new(vm: &VmFd, pages: u32) -> Result<Self> {
        let size = pages as usize * PAGE;
        let private = vm
            .create_guest_memfd(kvm_create_guest_memfd { size: size as u64, ..Default::default() })
            .context("KVM_CREATE_GUEST_MEMFD")?;
        // SAFETY: KVM has just opened it for us.
        let private = unsafe { OwnedFd::from_raw_fd(private) };
        let (start, shared) = (END - size as u64, GuestMemory::new(size)?);
        let region = kvm_userspace_memory_region2 {
            slot: SLOT,
            flags: KVM_MEM_GUEST_MEMFD,
            guest_phys_addr: start,
            memory_size: size as u64,
            userspace_addr: shared.host_address(),
            guest_memfd: private.as_raw_fd().cast_unsigned(),
            ..Default::default()
        };
        // SAFETY: the region is all of a mapping that outlives the VM.
        unsafe { vm.set_user_memory_region2(region) }.context("KVM_SET_USER_MEMORY_REGION2")?;
        vm.set_memory_attributes(kvm_memory_attributes {
            address: start,
            size: size as u64,
            attributes: u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE),
            ..Default::default()
        })
        .context("KVM_SET_MEMORY_ATTRIBUTES")?;
        Ok(Self { start, _shared: shared, _private: private })
    }

    /// Measures some of the pages and adds to the count of those that were.
    pub fn measure(
        &self,
        vm: &VmFd,
        psp: u32,
        pages: Range<u32>,
        count: &mut u32,
    ) -> Result<(), Refused> {
        // never written, and so shared with all zeros of the host
        let zeros = vec![0u8; (pages.len() + 1) * PAGE];
        let mut update = kvm_sev_snp_launch_update {
            gfn_start: self.start / PAGE as u64 + u64::from(pages.start),
            uaddr: (zeros.as_ptr() as u64).next_multiple_of(PAGE as u64),
            len: (pages.len() * PAGE) as u64,
            type_: KVM_SEV_SNP_PAGE_TYPE_NORMAL as u8,
            ..Default::default()
        };
        // KVM stops before a refused page or at a signal, and says how far it came
        while update.len > 0 {
            let before = update.len;
            SNP_LAUNCH_UPDATE.issue(vm, psp, &mut update)?;
            *count += ((before - update.len) / PAGE as u64) as u32;
        }
        Ok(())
    }
}
