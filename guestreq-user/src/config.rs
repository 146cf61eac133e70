//! # Configuration
//!
//! /etc/guestreq/config.toml. Every key has a default, an unknown key is an
//! error, and an error names the line, the key and what is allowed. What holds
//! for VMs is in [`crate::policy`].

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use guestreq_common::policy::{Backend, Mode};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::policy::{self, Book, Limit, Named, Overrides, Place, Rule, Settings, Types};

pub const DEFAULT_PATH: &str = "/etc/guestreq/config.toml";

/// What the agent does, and how much it remembers.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What carries decisions out.
    pub backend: Named<Backend>,
    /// What holds for VMs of which no rule says more.
    pub mode: Option<Named<Mode>>,
    pub allow: Option<Types>,
    #[serde(deserialize_with = "policy::file_limit")]
    pub limit: Option<Limit>,
    /// `[[vm]]`: what holds for some.
    #[serde(rename = "vm")]
    pub rules: Vec<Rule>,
    /// Where what the command line sets is kept.
    pub state: PathBuf,
    /// Where /metrics, /healthz and /readyz are served.
    pub listen: SocketAddr,
    /// Where the command line finds the agent.
    pub socket: PathBuf,
    /// VMs that have records of their own at a time, those that have just gone included.
    #[serde(deserialize_with = "max_vms")]
    pub max_vms: u32,
    /// How long a VM that has gone keeps its series.
    #[serde(deserialize_with = "duration")]
    pub keep_exited_vms: Duration,
    /// A request that takes longer is told one by one.
    #[serde(deserialize_with = "duration")]
    pub slow_request: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            backend: Named(Backend::Gate),
            mode: None,
            allow: None,
            limit: None,
            rules: Vec::new(),
            state: PathBuf::from("/var/lib/guestreq"),
            listen: (Ipv4Addr::LOCALHOST, 9940).into(),
            socket: PathBuf::from("/run/guestreq/agent.sock"),
            max_vms: 1024,
            keep_exited_vms: Duration::from_secs(300),
            slow_request: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// Reads a file. The default path may be absent, one that was asked for may not.
    pub fn load(asked: Option<&Path>) -> Result<Config> {
        let path = asked.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && asked.is_none() => {
                return Ok(Config::default());
            }
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        Config::parse(&text).with_context(|| format!("{}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text).map_err(|error| one_line(&error, text))?;
        let book = Book { file: config.policy(), overrides: Overrides::default() };
        match book.contradiction() {
            None => Ok(config),
            Some((at, why)) => bail!("{}{why}", place_of_mode(text, at)),
        }
    }

    /// What the file says of VMs.
    pub fn policy(&self) -> policy::File {
        policy::File {
            backend: self.backend.0,
            default: Settings { mode: self.mode, allow: self.allow, limit: self.limit },
            rules: self.rules.clone(),
        }
    }
}

/// `line 3, column 1: unknown field …`: toml's own message draws a picture over five lines.
fn one_line(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let message = error.message().trim_end().replace('\n', " ");
    match error.span() {
        Some(span) => anyhow!("{}{message}", place(text, span.start)),
        None => anyhow!("{message}"),
    }
}

fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("line {line}, column {column}: ")
}

/// Where a mode stands in the file. Only asked for a file that is right but for what it says.
fn place_of_mode(text: &str, at: Place) -> String {
    #[derive(Deserialize)]
    struct Modes {
        mode: Option<toml::Spanned<String>>,
        #[serde(default)]
        vm: Vec<Modes>,
    }
    let Ok(modes) = toml::from_str::<Modes>(text) else { return String::new() };
    let mode = match at {
        Place::Top => modes.mode,
        Place::Rule(number) => modes.vm.into_iter().nth(number).and_then(|rule| rule.mode),
        Place::Override => None,
    };
    mode.map_or_else(String::new, |mode| place(text, mode.span().start))
}

fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(value)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("{error}: a time such as \"5m\" or \"800ms\"")))
}

fn max_vms<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    let number = u32::deserialize(value)?;
    match check_max_vms(number) {
        Ok(()) => Ok(number),
        Err(error) => Err(D::Error::custom(error)),
    }
}

fn check_max_vms(number: u32) -> Result<()> {
    // A record takes about 10 kB of kernel memory.
    if !(1..=65_536).contains(&number) {
        bail!("{number} VMs: allowed are 1 to 65536");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
