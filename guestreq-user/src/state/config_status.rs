//! # State of the current configuration

use std::time::SystemTime;

use crate::config::Config;

#[derive(Clone, Debug)]
pub struct ConfigStatus {
    pub files: Vec<String>,
    /// When the current configuration was read.
    pub read_at: SystemTime,
    /// The last reload, if it failed: when and why.
    pub failed: Option<(SystemTime, String)>,
    /// Changed keys that only take effect at a restart.
    pub pending: Vec<&'static str>,
}

impl ConfigStatus {
    pub fn of(config: &Config) -> ConfigStatus {
        ConfigStatus {
            files: config.files.iter().map(|path| path.display().to_string()).collect(),
            read_at: SystemTime::now(),
            failed: None,
            pending: Vec::new(),
        }
    }
}
