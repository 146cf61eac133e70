//! # Configuration
//!
//! /etc/guestreq/config.toml, then conf.d/*.toml beside it. Every key has a default, an unknown key
//! is an error, and an error names file, line, key and allowed values. A later file's keys win, and
//! its `[[vm]]` rules precede an earlier one's. [`crate::policy`] resolves VMs' policies.

mod check;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod keys;
mod layer;
mod order;
mod place;
mod policy_file;
#[cfg(test)]
mod schema;
mod values;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use guestreq_common::policy::{AfterDenial, Backend};

pub use check::{Checked, Wrong};
pub use files::{Files, Fingerprint, STDIN};
pub use order::OrderSwitch;
pub use place::ConfigError;
pub use policy_file::{policy_file, policy_keys};

use crate::policy::{Named, Overrides, PolicyFile, PolicySet};
use files::read_file;
use layer::Layer;

pub const DEFAULT_PATH: &str = "/etc/guestreq/config.toml";

/// The agent's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What enforces decisions.
    pub backend: Named<Backend>,
    /// What backend vcpu does after a disallowed type.
    pub vcpu_denied: Named<AfterDenial>,
    /// VMs' policies.
    pub policy: PolicyFile,
    /// Whether the gate's order is on; without it the gate decides.
    pub order: Option<Named<OrderSwitch>>,
    /// The folder of the overrides' file.
    pub state: PathBuf,
    /// Where /metrics, /healthz and /readyz are served.
    pub listen: SocketAddr,
    /// The agent's socket for the command line.
    pub socket: PathBuf,
    /// Who may open it, besides root.
    pub socket_group: Option<String>,
    /// Most VMs with records, recently exited ones included.
    pub max_vms: u32,
    /// How long an exited VM keeps its series.
    pub keep_exited_vms: Duration,
    /// Slower requests are reported as events.
    pub slow_request: Duration,
    /// Where labels are written for Node Feature Discovery.
    pub nfd_file: Option<PathBuf>,
    /// The files that were read, in their order.
    pub files: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            backend: Named(Backend::Gate),
            vcpu_denied: Named(AfterDenial::Hold),
            policy: PolicyFile::default(),
            order: None,
            state: PathBuf::from("/var/lib/guestreq"),
            listen: (Ipv4Addr::LOCALHOST, 9940).into(),
            socket: PathBuf::from("/run/guestreq/agent.sock"),
            socket_group: None,
            max_vms: 1024,
            keep_exited_vms: Duration::from_secs(300),
            slow_request: Duration::from_secs(1),
            nfd_file: None,
            files: Vec::new(),
        }
    }
}

impl Config {
    /// Reads all files. The default path may be absent, a given one may not.
    pub fn load(path: Option<&Path>) -> Result<Config> {
        Config::read(&Files::of(path))
    }

    pub fn read(files: &Files) -> Result<Config> {
        Config::of(files.read()?)
    }

    fn of(files: Vec<(PathBuf, String)>) -> Result<Config> {
        let mut config = Config::default();
        let mut texts = Vec::new();
        for (path, text) in files {
            let name = path.display().to_string();
            let layer = Layer::parse(&name, &text).map_err(|faults| first_of(&name, &faults))?;
            config = config.with(layer);
            config.files.push(path);
            texts.push((name, text));
        }
        match config.contradiction(&texts) {
            None => Ok(config),
            Some(wrong) => bail!("{wrong}"),
        }
    }

    #[cfg(test)]
    pub fn parse(text: &str) -> Result<Config> {
        let config = Config::of(vec![(PathBuf::from("config.toml"), text.to_owned())])?;
        Ok(Config { files: Vec::new(), ..config })
    }

    /// Applies a later file.
    fn with(self, layer: Layer) -> Config {
        Config {
            backend: layer.backend.unwrap_or(self.backend),
            vcpu_denied: layer.vcpu_denied.unwrap_or(self.vcpu_denied),
            policy: layer.policy.over(self.policy),
            order: layer.order.or(self.order),
            state: layer.state.unwrap_or(self.state),
            listen: layer.listen.unwrap_or(self.listen),
            socket: layer.socket.unwrap_or(self.socket),
            socket_group: layer.socket_group.or(self.socket_group),
            max_vms: layer.max_vms.unwrap_or(self.max_vms),
            keep_exited_vms: layer.keep_exited_vms.unwrap_or(self.keep_exited_vms),
            slow_request: layer.slow_request.unwrap_or(self.slow_request),
            nfd_file: layer.nfd_file.or(self.nfd_file),
            files: self.files,
        }
    }

    /// A contradiction between settings, with its place.
    fn contradiction(&self, texts: &[(String, String)]) -> Option<Wrong> {
        let policy_set = self.policy_set(Overrides::default());
        let (at, error) = policy_set.contradiction()?;
        let Some(at) = at else {
            return Some(Wrong { file: String::new(), line: None, column: None, error });
        };
        let text = texts.iter().find(|(name, _)| *name == at.file).map_or("", |(_, text)| text);
        let (line, column) = place::place_of_mode(text, at.line).unwrap_or((at.line, 1));
        Some(Wrong { file: at.file.clone(), line: Some(line), column: Some(column), error })
    }

    /// The policy set with these overrides.
    pub fn policy_set(&self, overrides: Overrides) -> PolicySet {
        PolicySet { backend: self.backend.0, file: self.policy.clone(), overrides }
    }

    /// What the gate's order is set to, if anything.
    pub fn order(&self) -> Option<OrderSwitch> {
        self.order.map(|Named(order)| order)
    }

    /// Keys that differ from a running agent's and take effect at a restart only.
    pub fn pending(&self, running: &Config) -> Vec<&'static str> {
        let keys = [
            ("backend", self.backend != running.backend),
            ("listen", self.listen != running.listen),
            ("max_vms", self.max_vms != running.max_vms),
            ("socket", self.socket != running.socket),
            ("socket_group", self.socket_group != running.socket_group),
            ("state", self.state != running.state),
            ("vcpu_denied", self.vcpu_denied != running.vcpu_denied),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// One line: a file's first error, and how to see the others.
fn first_of(name: &str, faults: &[ConfigError]) -> anyhow::Error {
    let Some(first) = faults.first() else { return anyhow::anyhow!("{name}") };
    let more = match faults.len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more (guestreq policy check)"),
    };
    anyhow::anyhow!("{name}: {first}{more}")
}

#[cfg(test)]
mod tests;
