//! # What is known of the configuration that holds

use std::time::SystemTime;

use crate::config::Config;

/// What is told of it.
#[derive(Clone, Debug)]
pub struct ConfigStatus {
    pub files: Vec<String>,
    /// When what holds was read.
    pub read_at: SystemTime,
    /// Why it could not be read since, and when that was.
    pub failed: Option<(SystemTime, String)>,
    /// Keys that have changed, and that only a start reads.
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
