//! # /dev/snpsim
//!
//! The rig's fake SNP hardware. Through it a vCPU's GHCB MSR is written, which a guest's code would
//! do itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};

/// `struct snpsim_ghcb_msr` of snpsim-uapi.h.
#[repr(C)]
struct GhcbMsr {
    vcpu_fd: RawFd,
    pad: u32,
    value: u64,
}

/// `_IOWR('S', 1, struct snpsim_ghcb_msr)`
const SNPSIM_GHCB_MSR: u64 = 3 << 30 | (size_of::<GhcbMsr>() as u64) << 16 | (b'S' as u64) << 8 | 1;

/// `_IO('S', 3)`
const SNPSIM_TIO_GUEST_REQUEST: u64 = (b'S' as u64) << 8 | 3;

pub struct Sim(File);

impl Sim {
    pub fn open() -> Result<Self> {
        let file = File::open("/dev/snpsim").context("/dev/snpsim (is snpsim loaded?)")?;
        Ok(Self(file))
    }

    /// Writes the GHCB MSR and returns its old value. The vCPU's next KVM_RUN
    /// then begins with a VMGEXIT, whatever it was doing.
    pub fn ghcb_msr(&self, vcpu: &impl AsRawFd, value: u64) -> Result<u64> {
        let mut msr = GhcbMsr { vcpu_fd: vcpu.as_raw_fd(), pad: 0, value };
        // SAFETY: the ioctl reads and writes one GhcbMsr, which outlives it.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), SNPSIM_GHCB_MSR as _, &mut msr) };
        if ret < 0 {
            return Err(io::Error::last_os_error()).context("writing the GHCB MSR");
        }
        Ok(msr.value)
    }

    /// Makes a SEV-TIO guest request, as a VMM does for a guest with a device.
    pub fn tio_guest_request(&self) -> Result<()> {
        // SAFETY: the ioctl takes no memory.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), SNPSIM_TIO_GUEST_REQUEST as _) };
        if ret < 0 {
            return Err(io::Error::last_os_error()).context("a SEV-TIO guest request");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ioctl_has_the_number_of_the_header() {
        assert_eq!(SNPSIM_GHCB_MSR, 0xc010_5301);
        assert_eq!(SNPSIM_TIO_GUEST_REQUEST, 0x5303);
    }
}
