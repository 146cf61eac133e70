//! # The host that is checked, and what several checks share

use std::{cell::OnceCell, io};

use anyhow::Result;
use guestreq_common::policy::{Backend, Mode};

use super::{
    Finding, collected,
    live::{Asked, Live},
    platform::{Platform, Silence},
};
use crate::{
    bpf::pins::Found,
    config::Config,
    enforce::{
        gate,
        policies::{self, Policies},
    },
    host::system::{Missing, System},
    kernel::{self, DATA, Symbols},
    probes::PROBES,
    wire::status::Agent,
};

pub struct Host<'a> {
    pub system: System,
    pub live: &'a dyn Live,
    /// The running kernel's release.
    pub kernel: String,
    /// Effective capabilities of this process.
    pub capabilities: u64,
    pub config: Result<Config>,
    pub agent: Asked,
    pub symbols: Result<Symbols>,
    /// The kernel's; empty if not readable.
    pub log: String,
    /// Why collected /proc and /sys are not from one host, if so.
    pub two_kernels: Option<String>,
    platform: OnceCell<Result<Platform, Silence>>,
    perf: OnceCell<io::Result<()>>,
}

impl Host<'_> {
    pub fn new(system: System, live: &dyn Live) -> Host<'_> {
        if system.is_collected() {
            return Host::collected(system, live);
        }
        let config = live.config();
        let default = Config::default().socket;
        let agent = live.agent(config.as_ref().map_or(&default, |config| &config.socket));
        let log = live.kernel_log().unwrap_or_default();
        let capabilities = kernel::effective_capabilities(&system).unwrap_or(0);
        Host { capabilities, log, ..Host::of(system, live, config, agent) }
    }

    /// Another host, of which there are only copies.
    fn collected(mut system: System, live: &dyn Live) -> Host<'_> {
        let two_kernels = collected::two_kernels(&system);
        if two_kernels.is_some() {
            system.leave_out_sys();
        }
        let nobody = Asked::Nobody(Config::default().socket);
        Host { two_kernels, ..Host::of(system, live, Ok(Config::default()), nobody) }
    }

    fn of(system: System, live: &dyn Live, config: Result<Config>, agent: Asked) -> Host<'_> {
        Host {
            kernel: system.read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            capabilities: 0,
            symbols: Symbols::read_some(&system, is_wanted),
            log: String::new(),
            two_kernels: None,
            platform: OnceCell::new(),
            perf: OnceCell::new(),
            system,
            live,
            config,
            agent,
        }
    }

    /// Whether this user could run the agent, and so sees everything.
    pub fn is_privileged(&self) -> bool {
        kernel::capabilities(self.capabilities).is_ok()
    }

    /// The agent's answer, if any.
    pub fn agent(&self) -> Option<&Agent> {
        match &self.agent {
            Asked::Answered(agent) => Some(agent),
            _ => None,
        }
    }

    /// The agent's backend, or the configuration's.
    pub fn backend(&self) -> Backend {
        match (self.agent(), &self.config) {
            (Some(agent), _) => agent.enforcement.backend.0,
            (None, Ok(config)) => config.backend.0,
            (None, Err(_)) => Config::default().backend.0,
        }
    }

    /// Whether any VM's mode is enforce.
    pub fn enforces(&self) -> bool {
        let configured = || {
            let config = self.config.as_ref().ok()?;
            match Policies::open(config) {
                // Not readable by this user: unknown.
                Err(error) if is_denied(&error) => None,
                _ => Some(policies::configured(config).mode),
            }
        };
        let mode = self.agent().map(|agent| agent.enforcement.mode.0).or_else(configured);
        mode == Some(Mode::Enforce)
    }

    /// A finding for what only enforcement needs: a warning if nothing is enforced.
    pub fn for_enforcing(&self, Missing { what, fix }: Missing) -> Finding {
        if self.enforces() {
            Finding::fail(what, fix)
        } else {
            Finding::warn(format!("{what}; only enforcement needs it"), fix)
        }
    }

    /// Queried once.
    pub fn platform(&self) -> &Result<Platform, Silence> {
        self.platform.get_or_init(|| self.live.platform())
    }

    /// Tried once.
    pub fn perf_event_open(&self) -> io::Result<()> {
        match self.perf.get_or_init(|| self.live.perf_event_open()) {
            Ok(()) => Ok(()),
            // Not Clone: copied by its errno.
            Err(error) => Err(error
                .raw_os_error()
                .map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)),
        }
    }

    /// Whether KVM can run SNP guests.
    pub fn sev_snp(&self) -> Result<(), Missing> {
        kernel::sev_snp(&self.system, || &self.log)
    }
}

/// Symbols that checks use, and the compiler's variants of them.
pub fn is_wanted(name: &str) -> bool {
    const KERNEL: [&str; 2] = ["register_kprobe", "bpf_lsm_file_ioctl"];
    let hook = ["__tracepoint_", "bpf_lsm_"].iter().find_map(|prefix| name.strip_prefix(prefix));
    let target = hook.unwrap_or_else(|| name.split('.').next().unwrap_or(name));
    DATA.contains(&name)
        || KERNEL.contains(&name)
        || PROBES.iter().any(|probe| probe.target == target)
}

impl Host<'_> {
    /// Number by which programs identify the loaded gate.
    pub fn gate_file_number(&self) -> Option<u64> {
        gate::read_number(&self.system.path(&format!("{}/file", gate::PARAMETERS))).ok()
    }

    /// Whether our programs answer the loaded gate.
    pub fn is_gate_answered(&self) -> bool {
        match self.agent() {
            Some(Agent { enforcement, .. }) => {
                enforcement.backend.0 == Backend::Gate && enforcement.verified
            }
            None => {
                // Unknown numbers are not equal.
                let loaded = self.gate_file_number();
                matches!(self.live.pins(), Ok(Found::Ours { .. }))
                    && loaded
                        .is_some_and(|it| self.live.known_gate().is_ok_and(|known| known == it))
            }
        }
    }
}

/// Whether the cause is a missing permission.
pub fn is_denied(error: &anyhow::Error) -> bool {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(denied))
}
