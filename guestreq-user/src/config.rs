//! # Configuration
//!
//! /etc/guestreq/config.toml. Every key has a default, an unknown key is an
//! error, and an error names the line, the key and what is allowed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Deserializer, de::Error as _};

pub const DEFAULT_PATH: &str = "/etc/guestreq/config.toml";

/// What the agent does, and how much it remembers.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
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

    fn parse(text: &str) -> Result<Config> {
        toml::from_str(text).map_err(|error| one_line(&error, text))
    }
}

/// `line 3, column 1: unknown field …`: toml's own message draws a picture over five lines.
fn one_line(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let message = error.message().trim_end().replace('\n', " ");
    let Some(span) = error.span() else { return anyhow::anyhow!("{message}") };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    anyhow::anyhow!("line {line}, column {column}: {message}")
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
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Config::parse(text).unwrap_err())
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn every_key_can_be_set() {
        let config = Config::parse(
            "listen = \"0.0.0.0:1234\"\nsocket = \"/tmp/s\"\nmax_vms = 7\n\
             keep_exited_vms = \"10s\"\nslow_request = \"250ms\"\n",
        )
        .unwrap();
        assert_eq!(config.listen, ([0, 0, 0, 0], 1234).into());
        assert_eq!(config.max_vms, 7);
        assert_eq!(config.keep_exited_vms, Duration::from_secs(10));
        assert_eq!(config.slow_request, Duration::from_millis(250));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_known_ones() {
        let message = error("max_vms = 3\n  lissten = \"127.0.0.1:1\"\n");
        assert!(message.starts_with("line 2, column 3: unknown field `lissten`"), "{message}");
        assert!(message.contains("`listen`"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn a_bad_value_says_what_is_allowed() {
        assert!(error("max_vms = 0").contains("allowed are 1 to 65536"));
        assert!(error("keep_exited_vms = \"soon\"").contains("a time such as"));
        assert!(error("listen = \"here\"").contains("line 1"));
    }

    #[test]
    fn a_missing_file_is_an_error_only_if_it_was_asked_for() {
        let path = Path::new("/nonexistent/guestreq.toml");
        assert!(format!("{:#}", Config::load(Some(path)).unwrap_err()).contains("nonexistent"));
    }
}
