//! # The mirrors of Debian's archive that this machine's own apt uses

use std::process::Command;

use anyhow::{Result, bail};

use super::host;
use crate::process;

/// The keys for every suite, whatever the machine's apt trusts.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub struct Mirrors {
    main: String,
    security: Option<String>,
}

impl Mirrors {
    pub fn of_this_machine() -> Result<Self> {
        if let Some(mirrors) = Self::listed()? {
            return Ok(mirrors);
        }
        // The address is only known once the machine has an index.
        if host::is_root() {
            process::output(Command::new("apt-get").arg("update"))?;
        }
        match Self::listed()? {
            Some(mirrors) => Ok(mirrors),
            None => bail!("this machine's apt knows no mirror of Debian: add one, apt-get update"),
        }
    }

    fn listed() -> Result<Option<Self>> {
        let table = process::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(CODENAME) $(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
        ]))?;
        let entries: Vec<_> = table
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, uri)| !uri.starts_with("cdrom:"))
            .collect();
        let find = |security: bool| {
            let mut fitting = entries.iter().filter(|(c, _)| c.ends_with("-security") == security);
            fitting.next().map(|(_, uri)| (*uri).to_string())
        };
        Ok(find(false).map(|main| Self { main, security: find(true) }))
    }

    /// A sources.list for `suites`.
    pub fn sources(&self, suites: &[&str]) -> String {
        let line = |suite: &&str| {
            let uri = match suite.ends_with("-security") {
                true => self.security.as_ref()?,
                false => &self.main,
            };
            Some(format!("deb [signed-by={KEYRING}] {uri} {suite} main\n"))
        };
        suites.iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_suites_have_their_own_mirror() {
        let both = Mirrors { main: "http://a/".into(), security: Some("http://b/".into()) };
        let sources = both.sources(&["trixie", "trixie-security"]);
        assert!(sources.contains("http://a/ trixie main\n"));
        assert!(sources.contains("http://b/ trixie-security main\n"));
        let one = Mirrors { main: "http://a/".into(), security: None };
        assert_eq!(one.sources(&["trixie", "trixie-security"]).lines().count(), 1);
    }
}
