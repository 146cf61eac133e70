//! # The self-test of backend vcpu

use std::{fs, mem::offset_of};

use anyhow::{Context as _, Result, bail, ensure};
use guestreq_common::{
    gate::{ASK, DENY},
    host::EnforcementRecord,
};

use crate::{
    bpf::{programs::Programs, records::Records},
    host::system,
    kernel,
    probes::IOCTL,
};

pub fn check_lsm(programs: &Programs) -> Result<()> {
    kernel::lsm(system::host())?;
    if !programs.is_attached(IOCTL) {
        let reason = programs.failure(IOCTL).unwrap_or("it is left out");
        bail!("{IOCTL} is not attached: {reason}");
    }
    Ok(())
}

/// Makes an ioctl(2) that only our program can answer.
pub fn challenge(records: &Records) -> Result<()> {
    let number = random()?;
    let null = fs::File::open("/dev/null").context("/dev/null")?;
    records.set_enforcement(offset_of!(EnforcementRecord, challenge), number);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&null);
    // SAFETY: the argument is a number; neither the program nor /dev/null follows it.
    let ret = unsafe { libc::ioctl(fd, u64::from(ASK) as _, number) };
    let error = std::io::Error::last_os_error();
    records.set_enforcement(offset_of!(EnforcementRecord, challenge), 0);
    ensure!(
        ret == -1
            && error.raw_os_error() == Some(-DENY)
            && records.enforcement(offset_of!(EnforcementRecord, self_test)) == number,
        "the program on file_ioctl is attached, but does not fire ({error}): another LSM answers \
         first, or the kernel skips it"
    );
    Ok(())
}

/// An unpredictable number, never 0.
pub fn random() -> Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: as many bytes as there are.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    ensure!(got == bytes.len() as isize, "getrandom: {}", std::io::Error::last_os_error());
    Ok(u64::from_ne_bytes(bytes).max(1))
}
