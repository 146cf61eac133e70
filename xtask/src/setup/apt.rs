//! # A private apt root with suites that the machine's apt may not have
//!
//! The machine's apt is not changed; only its mirror and proxy settings are reused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::cache::Cache;
use super::mirrors::Mirrors;
use crate::{process, progress};

const SUITES: &[&str] = &[
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "trixie-security",
    // Newer container runtimes, with their own libraries, and their seccomp profiles.
    "forky",
];
/// The suites that the index was fetched for.
const UPDATED: &str = "updated";
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

pub struct Apt {
    dir: PathBuf,
    log: PathBuf,
}

/// One version of a package that some suite offers.
pub struct Offer {
    pub package: String,
    pub version: String,
    pub suite: String,
}

impl Apt {
    /// Opens the root; fetches its index if it is missing or older than a day.
    pub fn open(cache: &Cache) -> Result<Self> {
        let apt = Self { dir: cache.path("apt"), log: cache.log("apt-update.log") };
        match apt.index_time() {
            Some(time) if time.elapsed().is_ok_and(|age| age < MAX_AGE) => {}
            None => apt.refresh()?,
            Some(_) => {
                if let Err(error) = apt.refresh() {
                    progress::note(&format!("using the old package index: {error:#}"));
                }
            }
        }
        Ok(apt)
    }

    /// None until the index was fetched for all of `SUITES`; it lacks those without a mirror here.
    pub fn index_time(&self) -> Option<SystemTime> {
        let updated = self.dir.join(UPDATED);
        if fs::read_to_string(&updated).ok()? != SUITES.join(" ") {
            return None;
        }
        fs::metadata(updated).and_then(|m| m.modified()).ok()
    }

    /// Fetches the index again.
    pub fn refresh(&self) -> Result<()> {
        progress::step("index", &format!("packages of {}", SUITES.join(", ")), || {
            for sub in ["lists/partial", "cache/archives/partial"] {
                fs::create_dir_all(self.dir.join(sub))?;
            }
            let dir = self.dir.display();
            let conf = format!(
                "Dir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
                 Dir::State::lists \"{dir}/lists\";\nDir::State::status \"/dev/null\";\n\
                 Dir::Cache \"{dir}/cache\";\nAPT::Sandbox::User \"root\";\n\
                 Acquire::Retries \"2\";\nAcquire::Languages \"none\";\n"
            );
            fs::write(self.dir.join("apt.conf"), conf)?;
            let mirrors = Mirrors::of_this_machine()?;
            fs::write(self.dir.join("sources.list"), mirrors.sources(SUITES))?;
            let mut update = self.command("apt-get");
            // Large files that only software centres read.
            update.args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]);
            process::logged(update.args(["--error-on=any", "update"]), &self.log)
                .context("cannot fetch Debian's package index (is there a network?)")?;
            fs::write(self.dir.join(UPDATED), SUITES.join(" "))?;
            Ok(())
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// Every offer of the packages whose name starts with `prefix` and fits `wanted`.
    pub fn offers(&self, prefix: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Offer>> {
        let names = process::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        let names: Vec<_> = names.lines().filter(|name| wanted(name)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let table = process::output(self.command("apt-cache").arg("madison").args(names))?;
        Ok(table.lines().filter_map(Offer::parse).collect())
    }

    /// Downloads packages (`name` or `name=version`) and unpacks them into `dest`.
    pub fn unpack(&self, packages: &[String], dest: &Path) -> Result<()> {
        let debs = self.dir.join("debs");
        super::cache::remove(&debs)?;
        fs::create_dir_all(&debs)?;
        let mut download = self.command("apt-get");
        download.current_dir(&debs).arg("download").args(packages);
        process::logged(&mut download, &self.log)
            .with_context(|| format!("cannot download {}", packages.join(" ")))?;
        for deb in fs::read_dir(&debs)? {
            let mut unpack = Command::new("dpkg");
            process::logged(unpack.arg("-x").arg(deb?.path()).arg(dest), &self.log)
                .with_context(|| format!("cannot unpack {}", packages.join(" ")))?;
        }
        super::cache::remove(&debs)
    }
}

impl Offer {
    /// A line of `apt-cache madison`: `package | version | uri suite/component arch Packages`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('|').map(str::trim);
        let (package, version, source) = (fields.next()?, fields.next()?, fields.next()?);
        let suite = source.split(' ').nth(1)?.split('/').next()?;
        Some(Self { package: package.into(), version: version.into(), suite: suite.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_other_suites_does_not_count() {
        let dir = std::env::temp_dir().join(format!("guestreq-apt-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let apt = Apt { dir: dir.clone(), log: dir.join("log") };
        assert_eq!(apt.index_time(), None);
        for (suites, is_current) in [("trixie", false), (&SUITES.join(" "), true)] {
            fs::write(dir.join(UPDATED), suites).unwrap();
            assert_eq!(apt.index_time().is_some(), is_current, "{suites}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_offer_knows_its_suite() {
        let line = " rust-src | 1.95.0+dfsg1-2 | http://mirror/debian trixie-backports/main amd64 Packages";
        let offer = Offer::parse(line).unwrap();
        assert_eq!(
            (offer.package.as_str(), offer.version.as_str()),
            ("rust-src", "1.95.0+dfsg1-2")
        );
        assert_eq!(offer.suite, "trixie-backports");
    }
}
