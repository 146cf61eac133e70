//! # What only scenarios need: checkers, container runtimes, rendered manifests

use std::path::PathBuf;

use anyhow::Result;

use super::apt::Apt;
use super::cache::Cache;
use super::{Prometheus, Release, container};
use crate::manifests;

/// Overlays of deploy/kubernetes.
const OVERLAYS: [&str; 4] = ["observe", "enforce", "detach", "localhost"];

pub struct Fixtures {
    pub prometheus: Prometheus,
    /// Overlays by name, as JSON; rendered once for all boots.
    pub manifests: Vec<(&'static str, Vec<u8>)>,
    /// A folder with runc and its libraries.
    pub runtime: PathBuf,
    /// A folder with the container runtimes' seccomp profiles.
    pub profiles: PathBuf,
}

impl Fixtures {
    pub fn ensure(cache: &Cache, apt: &Apt) -> Result<Self> {
        let kubectl = container::kubectl(cache, apt)?;
        let render =
            |overlay| Ok((overlay, serde_json::to_vec(&manifests::render(&kubectl, overlay)?)?));
        Ok(Self {
            prometheus: Prometheus::ensure(cache, apt, Release::Two)?,
            manifests: OVERLAYS.into_iter().map(render).collect::<Result<_>>()?,
            runtime: container::runtime(cache, apt)?,
            profiles: container::profiles(cache, apt)?,
        })
    }
}
