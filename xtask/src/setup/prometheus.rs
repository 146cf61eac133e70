//! # Prometheus, and promtool, its checker of metrics and rules, from Debian 12
//!
//! Version 2.42 of February 2023: rules and dashboards must work with it, as many sites have no
//! newer one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::apt::Apt;
use super::cache::Cache;
use crate::progress;

const SUITE: &str = "bookworm";
const NAME: &str = "prometheus";
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
    pub fn cached(cache: &Cache) -> Option<Self> {
        Some(Self(cache.path(NAME))).filter(|packages| packages.promtool().is_file())
    }

    pub fn ensure(cache: &Cache, apt: &Apt) -> Result<Self> {
        let fill = |part: &Path| progress::step("fetch", "Prometheus", || unpack(apt, part));
        cache.once(NAME, fill).map(Self)
    }

    /// The folder of the unpacked packages.
    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn promtool(&self) -> PathBuf {
        self.0.join("usr/bin/promtool")
    }
}

fn unpack(apt: &Apt, part: &Path) -> Result<()> {
    // Not by version, unlike kernels: looking up a version takes apt seconds.
    let packages: Vec<_> =
        PAGES.iter().chain(&[NAME]).map(|name| format!("{name}/{SUITE}")).collect();
    apt.unpack(&packages, part)?;
    for rest in UNUSED.iter().map(|rest| part.join(rest)).filter(|rest| rest.exists()) {
        fs::remove_dir_all(rest)?;
    }
    Ok(())
}
