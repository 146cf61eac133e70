//! # Facts about the host
//!
//! Versions, what this kernel has for the programs, what switches are set. Only what no check of
//! doctor's shows, or shows as a verdict alone.

mod kernel;

use serde_json::{Map, Value};

use super::{reduced, tree::why};
use crate::{
    config::Config,
    enforce::gate::{MODULE, PARAMETERS, SECRET_PARAMETERS},
    host::system::{System, names_in},
    kernel::Symbols,
};

/// Their values by section and name, in order.
pub struct Facts(Vec<(&'static str, Vec<(String, String)>)>);

/// Who may do what.
const SYSCTLS: [&str; 7] = [
    "bpf_stats_enabled",
    "dmesg_restrict",
    "ftrace_enabled",
    "kptr_restrict",
    "perf_event_paranoid",
    "tainted",
    "unprivileged_bpf_disabled",
];
/// Whose parameters are for all.
const MODULES: [&str; 3] = ["kvm_amd", "kvm", "ccp"];
/// Which cgroups this host has.
const CGROUPS: [&str; 4] =
    ["cgroup.controllers", "misc.capacity", "misc/misc.capacity", "unified/cgroup.controllers"];
/// A file may have many lines.
const MAX_VALUE: usize = 200;

impl Facts {
    /// `agent`: its version.
    pub fn read(
        system: &System,
        config: &anyhow::Result<Config>,
        symbols: &anyhow::Result<Symbols>,
        agent: Option<&str>,
    ) -> Facts {
        let mut facts = vec![
            ("versions", versions(system, agent)),
            ("configuration", configuration(config)),
            ("lsms", files(system, "/sys/kernel/security", &["lsm", "lockdown"])),
            ("cgroups", files(system, "/sys/fs/cgroup", &CGROUPS)),
            ("sysctls", files(system, "/proc/sys/kernel", &SYSCTLS)),
            ("symbols", kernel::functions(symbols)),
            ("btf", kernel::btf(system, &MODULES)),
            ("gate", parameters(system, MODULE, PARAMETERS)),
        ];
        for module in MODULES {
            let folder = format!("/sys/module/{module}/parameters");
            facts.push((module, parameters(system, module, &folder)));
        }
        Facts(facts)
    }

    /// What may have names: paths and errors.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let configured = self.0.iter_mut().filter(|(section, _)| *section == "configuration");
        configured.flat_map(|(_, facts)| facts.iter_mut().map(|(_, value)| value))
    }

    pub fn json(&self) -> Value {
        let mut all = Map::new();
        for (name, facts) in &self.0 {
            let mut section = Map::new();
            section.extend(facts.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
            all.insert((*name).to_owned(), Value::Object(section));
        }
        Value::Object(all)
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (section, facts) in &self.0 {
            let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            text.push_str(&format!("{section}\n"));
            for (name, value) in facts {
                text.push_str(&format!(" {name:<width$}  {value}\n"));
            }
            text.push('\n');
        }
        text
    }
}

type Section = Vec<(String, String)>;

fn fact(name: &str, value: impl Into<String>) -> (String, String) {
    let value: String = value.into();
    (name.to_owned(), value.lines().collect::<Vec<_>>().join(", "))
}

fn versions(system: &System, agent: Option<&str>) -> Section {
    let read = |path: &str| system.read(path).unwrap_or_else(|error| why(&error));
    let release = system.read("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    vec![
        fact("guestreq", env!("CARGO_PKG_VERSION")),
        fact("agent", agent.unwrap_or("does not answer")),
        fact("gate", read(&format!("/sys/module/{MODULE}/version"))),
        fact("kernel", read("/proc/sys/kernel/osrelease")),
        fact("kernel_build", reduced::version(&read("/proc/version"))),
        fact("distribution", pretty.unwrap_or("unknown").trim_matches('"')),
        fact("architecture", std::env::consts::ARCH),
    ]
}

/// Without policies, which are in a file of their own.
fn configuration(config: &anyhow::Result<Config>) -> Section {
    let config = match config {
        Ok(config) => config,
        Err(error) => return vec![fact("error", format!("{error:#}"))],
    };
    let files: Vec<_> = config.files.iter().map(|file| file.display().to_string()).collect();
    let files = if files.is_empty() { "none".to_owned() } else { files.join(", ") };
    let order = config.order.map_or_else(|| "not set".to_owned(), |order| order.to_string());
    vec![
        fact("files", files),
        fact("backend", config.backend.to_string()),
        fact("vcpu_denied", config.vcpu_denied.to_string()),
        fact("order", order),
        fact("listen", config.listen.to_string()),
        fact("socket", config.socket.display().to_string()),
        fact("state", config.state.display().to_string()),
        fact("max_vms", config.max_vms.to_string()),
        fact("keep_exited_vms", format!("{:?}", config.keep_exited_vms)),
        fact("slow_request", format!("{:?}", config.slow_request)),
    ]
}

fn files(system: &System, folder: &str, names: &[&str]) -> Section {
    let value = |name: &str| match system.read(&format!("{folder}/{name}")) {
        Ok(value) => match value.char_indices().nth(MAX_VALUE) {
            Some((end, _)) => format!("{}\u{2026}", &value[..end]),
            None => value,
        },
        Err(error) => why(&error),
    };
    names.iter().map(|name| fact(name, value(name))).collect()
}

fn parameters(system: &System, module: &str, folder: &str) -> Section {
    let names = names_in(&system.path(folder));
    if names.is_empty() {
        return vec![fact(module, "not loaded, or without parameters")];
    }
    let public =
        names.iter().filter(|name| module != MODULE || !SECRET_PARAMETERS.contains(&name.as_str()));
    let public: Vec<&str> = public.map(String::as_str).collect();
    files(system, folder, &public)
}

#[cfg(test)]
mod tests;
