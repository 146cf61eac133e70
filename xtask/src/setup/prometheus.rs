//! # Prometheus, and promtool, its checker of metrics and rules, from Debian
//!
//! Debian 12 has version 2.42 of February 2023: rules and dashboards must work with it, as many
//! sites have no newer one. Debian 14's version 3 converts histograms into native ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::apt::Apt;
use super::cache::{Cache, digest};
use crate::progress;

/// A Debian's Prometheus.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Two,
    /// promtool is a package of its own, and there are no pages.
    Three,
}

impl Release {
    /// Its entry in the cache, named after its packages, so that other packages are fetched again.
    fn entry(self) -> String {
        format!(
            "{}-{}",
            self.name(),
            digest(self.packages().iter().map(String::as_str).chain(UNUSED.iter().copied()))
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Two => "prometheus",
            Self::Three => "prometheus-3",
        }
    }

    fn packages(self) -> Vec<String> {
        let (suite, names) = match self {
            Self::Two => ("bookworm", [&["prometheus"], PAGES].concat()),
            Self::Three => ("forky", vec!["prometheus", "promtool"]),
        };
        // Not by version, unlike kernels: looking up a version takes apt seconds.
        names.into_iter().map(|name| format!("{name}/{suite}")).collect()
    }
}

/// The files of Debian's build of its pages.
const PAGES: &[&str] = &[
    "fonts-glyphicons-halflings",
    "libjs-bootstrap",
    "libjs-bootstrap4",
    "libjs-d3",
    "libjs-eonasdan-bootstrap-datetimepicker",
    "libjs-jquery",
    "libjs-jquery-hotkeys",
    "libjs-moment",
    "libjs-moment-timezone",
    "libjs-mustache",
    "libjs-popper.js",
    "libjs-rickshaw",
];

/// The service's configuration, and 200 MB that moment-timezone is made from.
const UNUSED: &[&str] =
    &["etc", "lib", "var", "usr/share/doc", "usr/share/javascript/moment-timezone/data"];

/// The packages, unpacked.
pub struct Prometheus(PathBuf);

impl Prometheus {
    /// None unless they were fetched before.
    pub fn cached(cache: &Cache, release: Release) -> Option<Self> {
        let packages = Self(cache.path(release.entry()));
        Some(packages).filter(|packages| packages.promtool().is_file())
    }

    pub fn ensure(cache: &Cache, apt: &Apt, release: Release) -> Result<Self> {
        let fill =
            |part: &Path| progress::step("fetch", release.name(), || unpack(apt, release, part));
        cache.once(release.entry(), fill).map(Self)
    }

    /// The folder of the unpacked packages.
    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn promtool(&self) -> PathBuf {
        self.0.join("usr/bin/promtool")
    }
}

fn unpack(apt: &Apt, release: Release, part: &Path) -> Result<()> {
    apt.unpack(&release.packages(), part)?;
    for rest in UNUSED.iter().map(|rest| part.join(rest)).filter(|rest| rest.exists()) {
        fs::remove_dir_all(rest)?;
    }
    Ok(())
}

/// The folder of VictoriaMetrics' unpacked package, for `xtask fleet`.
pub fn victoria_metrics(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    const NAME: &str = "victoria-metrics";
    const SUITE: &str = "forky";
    cache.once(format!("{NAME}-{SUITE}"), |part| {
        progress::step("fetch", NAME, || apt.unpack(&[format!("{NAME}/{SUITE}")], part))
    })
}
