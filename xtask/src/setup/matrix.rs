//! # The matrix of kernels: the newest of each kind in Debian's archive

use std::fs;

use anyhow::{Context, Result};

use super::apt::{Apt, Offer};
use super::cache::Cache;

/// A kind of kernel: a pattern, as versions change.
pub struct Kind {
    suites: &'static [&'static str],
    version: &'static str,
    release: &'static str,
    flavour: Flavour,
    /// Whether it only runs with `--long`, or if it is asked for.
    nightly: bool,
}

/// Debian's kernel flavours, without the cloud one, which has neither ccp nor SEV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Plain,
    /// PREEMPT_RT
    Realtime,
}

/// Oldest first; the demo uses the last. Plain kernels follow the realtime one of their version, so
/// that a pattern for both still ends in the plain one.
pub const MATRIX: &[Kind] = &[
    // Of the same stable branch as the next two, with another configuration and compiler.
    Kind { nightly: true, ..Kind::plain(&["bookworm-backports"], "6.12.", "deb12") },
    Kind {
        flavour: Flavour::Realtime,
        ..Kind::plain(&["trixie", "trixie-security"], "6.12.", "deb13")
    },
    Kind::plain(&["trixie", "trixie-security"], "6.12.", "deb13"),
    Kind::plain(&["trixie-backports"], "7.", "deb13"),
];

impl Flavour {
    /// The suffix of its packages and its release.
    const fn suffix(self) -> &'static str {
        match self {
            Flavour::Plain => "-amd64",
            Flavour::Realtime => "-rt-amd64",
        }
    }

    /// The packages for building modules for `abi`, in order of dependence: build tools, shared
    /// headers, the kernel's headers.
    pub fn headers(self, abi: &str) -> [String; 3] {
        let version = abi.trim_end_matches(self.suffix());
        let common = match self {
            Flavour::Plain => "common",
            Flavour::Realtime => "common-rt",
        };
        [
            format!("linux-kbuild-{version}"),
            format!("linux-headers-{version}-{common}"),
            format!("linux-headers-{abi}"),
        ]
    }
}

impl Kind {
    const fn plain(
        suites: &'static [&'static str],
        version: &'static str,
        release: &'static str,
    ) -> Kind {
        Kind { suites, version, release, flavour: Flavour::Plain, nightly: false }
    }

    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub fn is_nightly(&self) -> bool {
        self.nightly
    }

    pub fn suites(&self) -> &'static [&'static str] {
        self.suites
    }

    fn pattern(&self) -> String {
        format!("linux-image-{}*+{}{}", self.version, self.release, self.flavour.suffix())
    }

    /// Whether a package is of this kind; never -cloud-, -unsigned, -dbg or another flavour.
    fn fits(&self, package: &str) -> bool {
        let numbers = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        package
            .strip_prefix("linux-image-")
            .and_then(|rest| rest.strip_suffix(self.flavour.suffix()))
            .and_then(|abi| abi.split_once('+'))
            .is_some_and(|(version, release)| {
                version.starts_with(self.version)
                    && numbers(version)
                    && release.strip_prefix(self.release).is_some_and(numbers)
            })
    }

    /// The newest kernel of this kind in the index.
    fn choose(&self, apt: &Apt) -> Result<Offer> {
        let mut offers = apt.offers(&format!("linux-image-{}", self.version), |p| self.fits(p))?;
        offers.retain(|offer| self.suites.contains(&offer.suite.as_str()));
        offers.into_iter().max_by_key(|offer| version_key(&offer.package)).with_context(|| {
            format!(
                "no package {} in {}: Debian has moved on, adjust MATRIX in {}",
                self.pattern(),
                self.suites.join(" or "),
                file!()
            )
        })
    }

    /// The newest kernel of this kind that was fetched before.
    pub fn newest_kept(&self, cache: &Cache) -> Option<String> {
        let entries = fs::read_dir(cache.path("kernels")).ok()?.flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|abi| self.fits(&format!("linux-image-{abi}")))
            .max_by_key(|abi| version_key(abi))
    }

    /// The choice, kept so that a warm start does not run apt.
    pub fn abi(&self, cache: &Cache, apt: &Apt) -> Result<String> {
        let name = match self.flavour {
            Flavour::Plain => format!("{}{}", self.version, self.release),
            Flavour::Realtime => format!("{}{}-rt", self.version, self.release),
        };
        until_the_index_changes(cache, apt, &name, || {
            Ok(self.choose(apt)?.package.replace("linux-image-", ""))
        })
    }
}

/// A choice from the index, which is kept under `name` until the index changes.
pub fn until_the_index_changes(
    cache: &Cache,
    apt: &Apt,
    name: &str,
    choose: impl FnOnce() -> Result<String>,
) -> Result<String> {
    let memory = cache.path("kernels").join(name);
    let age = fs::metadata(&memory).and_then(|m| m.modified()).ok();
    if age.is_some() && age >= apt.index_time() {
        return Ok(fs::read_to_string(&memory)?);
    }
    let choice = choose()?;
    fs::create_dir_all(cache.path("kernels"))?;
    fs::write(&memory, &choice)?;
    Ok(choice)
}

/// Orders 6.12.100 after 6.12.95, and 6.12.90+deb12.1 after 6.12.90+deb12.
pub fn version_key(package: &str) -> Vec<u32> {
    package.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_of_its_flavour_fit() {
        let plain = Kind::plain(&[], "6.12.", "deb12");
        let realtime = Kind { flavour: Flavour::Realtime, ..Kind::plain(&[], "6.12.", "deb12") };
        for (kind, fits, other) in
            [(&plain, "-amd64", "-rt-amd64"), (&realtime, "-rt-amd64", "-amd64")]
        {
            assert!(kind.fits(&format!("linux-image-6.12.95+deb12{fits}")), "{fits}");
            assert!(kind.fits(&format!("linux-image-6.12.90+deb12.1{fits}")), "{fits}");
            assert!(!kind.fits(&format!("linux-image-6.12.95+deb12{other}")), "{other}");
            assert!(!kind.fits(&format!("linux-image-6.12.95+deb13{fits}")), "{fits}");
            for other in ["-dbg", "-unsigned"] {
                assert!(!kind.fits(&format!("linux-image-6.12.95+deb12{fits}{other}")), "{other}");
            }
            assert!(!kind.fits("linux-image-6.12.95+deb12-cloud-amd64"));
        }
    }

    #[test]
    fn flavours_have_their_own_headers_and_share_the_build_tools() {
        assert_eq!(
            Flavour::Plain.headers("6.12.118+deb13-amd64"),
            [
                "linux-kbuild-6.12.118+deb13",
                "linux-headers-6.12.118+deb13-common",
                "linux-headers-6.12.118+deb13-amd64",
            ]
        );
        assert_eq!(
            Flavour::Realtime.headers("6.12.118+deb13-rt-amd64"),
            [
                "linux-kbuild-6.12.118+deb13",
                "linux-headers-6.12.118+deb13-common-rt",
                "linux-headers-6.12.118+deb13-rt-amd64",
            ]
        );
    }

    /// The demo and scenarios that run once use the newest plain kernel.
    #[test]
    fn the_last_kernel_is_a_plain_one() {
        assert_eq!(MATRIX.last().map(Kind::flavour), Some(Flavour::Plain));
    }

    #[test]
    fn newest_is_by_number() {
        assert!(
            version_key("linux-image-6.12.100+deb13") > version_key("linux-image-6.12.95+deb13")
        );
        assert!(
            version_key("linux-image-6.12.90+deb12.1") > version_key("linux-image-6.12.90+deb12")
        );
    }
}
