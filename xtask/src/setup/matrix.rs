//! # The kinds of kernel that guestreq is tested on, and the newest of each in Debian's archive

use std::fs;

use anyhow::{Context, Result};

use super::apt::{Apt, Offer};
use super::cache::Cache;

/// A kind of kernel. Suites move on, so it is a pattern and never one version.
pub struct Kind {
    suites: &'static [&'static str],
    version: &'static str,
    release: &'static str,
}

/// Oldest first; the last is the one for the demo.
pub const MATRIX: &[Kind] = &[
    Kind { suites: &["bookworm-backports"], version: "6.12.", release: "deb12" },
    Kind { suites: &["trixie", "trixie-security"], version: "6.12.", release: "deb13" },
    Kind { suites: &["trixie-backports"], version: "7.", release: "deb13" },
];

impl Kind {
    fn pattern(&self) -> String {
        format!("linux-image-{}*+{}-amd64", self.version, self.release)
    }

    /// Whether a package is of this kind; -rt-, -cloud-, -unsigned and -dbg are not.
    fn fits(&self, package: &str) -> bool {
        let numbers = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        package
            .strip_prefix("linux-image-")
            .and_then(|rest| rest.strip_suffix("-amd64"))
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

    /// The choice, remembered until the index changes, so that a warm start asks apt nothing.
    pub fn abi(&self, cache: &Cache, apt: &Apt) -> Result<String> {
        let memory = cache.path("kernels").join(format!("{}{}", self.version, self.release));
        let age = fs::metadata(&memory).and_then(|m| m.modified()).ok();
        if age.is_some() && age >= apt.index_time() {
            return Ok(fs::read_to_string(&memory)?);
        }
        let abi = self.choose(apt)?.package.replace("linux-image-", "");
        fs::create_dir_all(cache.path("kernels"))?;
        fs::write(&memory, &abi)?;
        Ok(abi)
    }
}

/// Orders 6.12.100 after 6.12.95, and 6.12.90+deb12.1 after 6.12.90+deb12.
fn version_key(package: &str) -> Vec<u32> {
    package.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_images_fit() {
        let kind = &MATRIX[0];
        assert!(kind.fits("linux-image-6.12.95+deb12-amd64"));
        assert!(kind.fits("linux-image-6.12.90+deb12.1-amd64"));
        for other in ["6.12.95+deb12-rt-amd64", "6.12.95+deb13-amd64", "6.12.95+deb12-amd64-dbg"] {
            assert!(!kind.fits(&format!("linux-image-{other}")), "{other}");
        }
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
