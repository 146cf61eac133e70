//! # Queries of the running system
//!
//! To the kernel, the agent and other programs; tests replace them.

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    os::unix::{ffi::OsStrExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::platform::{self, Platform, Silence};
use crate::{
    bpf::{
        perf,
        pins::{self, Found, Mounted, Pins},
    },
    client,
    config::Config,
    kernel::{bpf_syscall, log},
    wire::status::Agent,
};

const AGENT_TIMEOUT: Duration = Duration::from_secs(3);

pub trait Live {
    fn config(&self) -> Result<Config>;
    fn agent(&self, socket: &Path) -> Asked;
    /// Whether bpf(2) can be called.
    fn bpf(&self) -> io::Result<()>;
    /// Whether perf_event_open(2) can be called.
    fn perf_event_open(&self) -> io::Result<()>;
    /// The kernel's log.
    fn kernel_log(&self) -> io::Result<String>;
    /// The mount at /sys/fs/bpf.
    fn bpffs(&self) -> Mounted;
    fn pins(&self) -> Result<Found>;
    /// The gate that pinned programs are bound to.
    fn known_gate(&self) -> Result<u64>;
    /// The PSP's status.
    fn platform(&self) -> Result<Platform, Silence>;
    /// Output of modinfo(8) for a module's file.
    fn modinfo(&self, file: &Path) -> Result<String>;
    /// Free space of a folder's file system.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// The result of querying the agent.
pub enum Asked {
    Answered(Box<Agent>),
    /// Nobody listens at the socket.
    Nobody(PathBuf),
    /// This user may not open the socket.
    Forbidden(PathBuf),
    /// No or an unexpected answer.
    Invalid(String),
}

pub struct Real {
    /// As given on the command line.
    pub config: Option<PathBuf>,
    /// As given on the command line.
    pub socket: Option<PathBuf>,
}

impl Live for Real {
    fn config(&self) -> Result<Config> {
        Config::load(self.config.as_deref())
    }

    fn agent(&self, socket: &Path) -> Asked {
        let socket = self.socket.as_deref().unwrap_or(socket);
        match UnixStream::connect(socket) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Asked::Forbidden(socket.to_owned());
            }
            Err(_) => return Asked::Nobody(socket.to_owned()),
            Ok(_) => {}
        }
        match client::get_within(socket, "/v1/agent", AGENT_TIMEOUT) {
            Ok(agent) => Asked::Answered(Box::new(agent)),
            Err(error) => Asked::Invalid(format!("{error:#}")),
        }
    }

    fn bpf(&self) -> io::Result<()> {
        bpf_syscall::probe()
    }

    fn perf_event_open(&self) -> io::Result<()> {
        perf::probe()
    }

    fn kernel_log(&self) -> io::Result<String> {
        log::read()
    }

    fn bpffs(&self) -> Mounted {
        pins::mounted()
    }

    fn pins(&self) -> Result<Found> {
        Ok(Pins::open()?.look())
    }

    fn known_gate(&self) -> Result<u64> {
        Pins::open()?.known_gate()
    }

    fn platform(&self) -> Result<Platform, Silence> {
        platform::ask(Path::new("/dev/sev"))
    }

    fn modinfo(&self, file: &Path) -> Result<String> {
        let output = std::process::Command::new("modinfo").arg(file).output().context("modinfo")?;
        ensure!(output.status.success(), "modinfo {} failed", file.display());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let path = CString::new(folder.as_os_str().as_bytes())?;
        let mut status = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: path and structure outlive the call.
        if unsafe { libc::statvfs(path.as_ptr(), status.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has filled it in.
        let status = unsafe { status.assume_init() };
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}
