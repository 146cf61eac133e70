//! # A vCPU
//!
//! Its four pages, and KVM_RUN as a VMM calls it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use kvm_ioctls::VcpuFd;

use crate::attack::{Attack, Entered};
use crate::behavior::STOPPED;
use crate::compat;
use crate::ghcb::{Ghcb, MSR_REGISTER, PROTOCOL, PROTOCOL_VERSION, SW_EXIT_INFO_1, SW_EXIT_INFO_2};
use crate::memory::GuestMemory;
use crate::message::{HEADER, MESSAGE_TYPE, PAGE};
use crate::outcome::Outcome;
use crate::reruns::Reruns;
use crate::scribble::Pages;
use crate::sim::Sim;
use crate::values::CertsError;

/// `KVM_EXIT_IO`
const EXIT_IO: u32 = 2;
/// A port without a KVM device.
const PORT: u16 = 0x10;
/// `KVM_EXIT_HLT`
const EXIT_HLT: u32 = 5;
/// Newer than the bindings: Linux 7.0.
const EXIT_SNP_REQ_CERTS: u32 = 43;
/// `ret` in the exit's part of struct kvm_run, after gpa and npages.
const REQ_CERTS_RET: usize = 16;

/// Each vCPU has four pages: GHCB, request, response, certificates. Page 0 is unused, since a GHCB
/// at 0 means none.
const PAGES_PER_VCPU: usize = 4;

pub fn memory_size(vcpus: u32) -> usize {
    (1 + PAGES_PER_VCPU * vcpus as usize) * PAGE
}

/// What lives as long as any of the VM's vCPUs.
pub struct Shared {
    pub sim: Sim,
    /// KVM keeps only its number and looks it up for each guest request
    pub _sev: File,
    pub memory: Arc<GuestMemory>,
    /// Its VMM makes 32-bit system calls.
    pub compat: bool,
}

pub struct Vcpu {
    fd: VcpuFd,
    shared: Arc<Shared>,
    ghcb: u64,
    certs_answer: u64,
    pub reruns: Reruns,
    /// How other threads or processes run it.
    pub attack: Option<Attack>,
}

/// What KVM expects in `ret` of the exit and translates for the guest.
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
    pub fn new(fd: VcpuFd, index: u32, shared: Arc<Shared>, error: Option<CertsError>) -> Self {
        let ghcb = ((1 + PAGES_PER_VCPU * index as usize) * PAGE) as u64;
        let certs_answer = certs_answer(error);
        Self { fd, shared, ghcb, certs_answer, reruns: Reruns::default(), attack: None }
    }

    pub fn request_gpa(&self) -> u64 {
        self.ghcb + PAGE as u64
    }

    pub fn response_gpa(&self) -> u64 {
        self.ghcb + 2 * PAGE as u64
    }

    pub fn certificates_gpa(&self) -> u64 {
        self.ghcb + 3 * PAGE as u64
    }

    /// An address outside the guest's memory.
    pub fn beyond_memory(&self) -> u64 {
        (self.shared.memory.size() as u64).next_multiple_of(1 << 20) + (1 << 20)
    }

    pub fn message_type_gpa(&self) -> u64 {
        self.request_gpa() + MESSAGE_TYPE as u64
    }

    pub fn pages(&self) -> Pages {
        let (ghcb, request) = (self.ghcb, self.request_gpa());
        let pages = [request, self.response_gpa(), self.certificates_gpa()];
        let addresses = [pages[0], pages[1], pages[2], request + 8, self.beyond_memory()];
        Pages { ghcb, request, addresses }
    }

    pub fn memory(&self) -> Arc<GuestMemory> {
        self.shared.memory.clone()
    }

    pub fn put_message(&self, header: &[u8; HEADER]) -> Result<()> {
        self.shared.memory.write(self.request_gpa(), header)
    }

    /// One VMGEXIT: KVM_RUN until the guest continues, which in the rig means HLT.
    pub fn vmgexit(&mut self, ghcb: &Ghcb) -> Result<Outcome> {
        self.shared.memory.write(self.ghcb, ghcb.bytes())?;
        let end = self.run()?;
        self.outcome(end)
    }

    /// A VMGEXIT that is not a request, but leaves the GHCB like a request with this answer: it is
    /// written while the VMM has the vCPU.
    pub fn forge(&mut self, answer: u64) -> Result<Outcome> {
        self.shared.memory.write(self.ghcb, Ghcb::port_output(PORT).bytes())?;
        let end = match self.run()? {
            Run::OtherExit(EXIT_IO) => {
                self.shared.memory.write(self.ghcb, Ghcb::answered(answer).bytes())?;
                self.run()?
            }
            other => other,
        };
        self.outcome(end)
    }

    /// The guest's outcome.
    fn outcome(&mut self, end: Run) -> Result<Outcome> {
        let outcome = match end {
            Run::Halted => {
                let info_1 = self.shared.memory.read_u64(self.ghcb + SW_EXIT_INFO_1 as u64)?;
                let info_2 = self.shared.memory.read_u64(self.ghcb + SW_EXIT_INFO_2 as u64)?;
                return Ok(Outcome::from_exit_info(info_1, info_2));
            }
            Run::OtherExit(reason) => Outcome::Exit(reason),
            Run::Failed(errno) => Outcome::Errno(errno),
        };
        if outcome == STOPPED {
            // final
            return Ok(outcome);
        }
        // the guest is interrupted: start over next time
        self.shared.sim.ghcb_msr(&self.fd, self.ghcb)?;
        Ok(outcome)
    }

    fn run(&mut self) -> Result<Run> {
        loop {
            let result = self.enter()?;
            if let Err(errno) = result
                && self.reruns.repeat(errno)
            {
                // every VMM continues after these
                continue;
            }
            self.reruns.over();
            let exit = match result {
                Ok(EXIT_HLT) => return Ok(Run::Halted),
                Ok(EXIT_SNP_REQ_CERTS) => None,
                Ok(reason) => Some(Run::OtherExit(reason)),
                Err(errno) => Some(Run::Failed(errno)),
            };
            match exit {
                Some(exit) => return Ok(exit),
                None => self.answer_certs_exit(),
            }
        }
    }

    /// KVM_RUN, in this thread or as the attack wants.
    fn enter(&mut self) -> Result<Entered> {
        let Self { fd, shared, attack, .. } = self;
        let mut kvm_run = || kvm_run(fd, shared.compat);
        match attack {
            Some(attack) => attack.enter(&mut kvm_run),
            None => Ok(kvm_run()),
        }
    }

    /// Sets only the answer, without certificates; KVM continues the request in the next KVM_RUN.
    fn answer_certs_exit(&mut self) {
        let run = self.fd.get_kvm_run();
        // SAFETY: padding covers the whole union, of which it is a plain view.
        let exit = unsafe { &mut run.__bindgen_anon_1.padding };
        for (to, from) in exit[REQ_CERTS_RET..].iter_mut().zip(self.certs_answer.to_le_bytes()) {
            *to = from as _;
        }
    }

    /// Registers the GHCB, which every SNP guest does first.
    pub fn register_ghcb(&mut self) -> Result<()> {
        self.shared.memory.write(self.ghcb + PROTOCOL_VERSION as u64, &PROTOCOL)?;
        self.shared.sim.ghcb_msr(&self.fd, self.ghcb | MSR_REGISTER)?;
        match self.run()? {
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

fn kvm_run(fd: &mut VcpuFd, compat: bool) -> Entered {
    if compat {
        compat::kvm_run(fd.as_raw_fd())?;
    } else {
        fd.run().map_err(|error| error.errno())?;
    }
    Ok(fd.get_kvm_run().exit_reason)
}
