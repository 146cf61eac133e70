//! # Reloading the configuration
//!
//! On SIGHUP, or when its files have changed: checked each second, links to other targets included.
//! They are read once they have not changed for a moment, as somebody may still be writing. If the
//! reload fails, the old configuration stays, the reason is reported, and it is retried each
//! minute.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use log::warn;

use crate::{
    config::{Config, Files, Fingerprint},
    enforce::policies,
    state::config_status::ConfigStatus,
    state::shared::{Shared, State},
    wire::events::EventData,
};

const POLL: Duration = Duration::from_secs(1);
/// How long files must be unchanged before they are read.
const SETTLE: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(60);

pub struct Reloader {
    files: Files,
    watch: Watch,
    /// The configuration at the start, for keys that need a restart.
    running: Config,
    /// A key that the command line overrides.
    overridden: Option<&'static str>,
    last_try: Instant,
}

impl Reloader {
    /// `read`: the files' fingerprint when they were read.
    pub fn new(
        files: Files,
        read: Fingerprint,
        running: &Config,
        overridden: Option<&'static str>,
    ) -> Reloader {
        let now = Instant::now();
        let running = running.clone();
        Reloader { files, watch: Watch::new(read, now), running, overridden, last_try: now }
    }

    /// Whether to reload now.
    pub fn is_due(&mut self, failed: bool) -> bool {
        let now = Instant::now();
        let files = &self.files;
        self.watch.is_due(now, || files.fingerprint())
            || (failed && now.duration_since(self.last_try) >= RETRY)
    }

    /// Reads and applies the files. Returns whether that succeeded.
    pub fn reload(&mut self, config: &mut Config, shared: &Shared) -> bool {
        self.last_try = Instant::now();
        // Before reading: later changes must be noticed.
        self.watch.read(self.files.fingerprint());
        match self.try_reload(shared) {
            Ok(new) => {
                *config = new;
                true
            }
            Err(error) => {
                let why = format!("{error:#}");
                let mut status = shared.config();
                if status.failed.as_ref().is_none_or(|(_, known)| *known != why) {
                    shared.journal.record(EventData::ConfigFailed { error: why.clone() });
                }
                status.failed = Some((SystemTime::now(), why));
                false
            }
        }
    }

    fn try_reload(&mut self, shared: &Shared) -> Result<Config> {
        let config = Config::read(&self.files)?;
        let changed = match &mut *shared.state() {
            State::Observing(observer) => observer.reload(&config)?,
            State::Waiting { .. } => {
                // Only the sockets use the old one so far.
                let Config { listen, socket, socket_group, .. } = self.running.clone();
                self.running = Config { listen, socket, socket_group, ..config.clone() };
                shared.set_configured(policies::configured(&config));
                "it applies once this host can be observed".to_owned()
            }
        };
        let mut pending = config.pending(&self.running);
        pending.retain(|key| Some(*key) != self.overridden);
        let mut status = shared.config();
        if !pending.is_empty() && pending != status.pending {
            warn!("{} changed: takes effect at the next start", pending.join(", "));
        }
        *status = ConfigStatus { pending, ..ConfigStatus::of(&config) };
        let files = status.files.clone();
        shared.journal.record(EventData::ConfigReloaded { files, changed });
        Ok(config)
    }
}

/// Whether files have changed since they were read, and have settled.
struct Watch {
    read: Fingerprint,
    /// The last fingerprint that differs from `read`.
    seen: Option<Fingerprint>,
    next: Instant,
}

impl Watch {
    fn new(read: Fingerprint, now: Instant) -> Watch {
        Watch { read, seen: None, next: now + POLL }
    }

    fn is_due(&mut self, now: Instant, fingerprint: impl FnOnce() -> Fingerprint) -> bool {
        if now < self.next {
            return false;
        }
        let found = fingerprint();
        if found == self.read {
            (self.seen, self.next) = (None, now + POLL);
            return false;
        }
        let settled = self.seen.as_ref() == Some(&found);
        (self.seen, self.next) = (Some(found), now + SETTLE);
        settled
    }

    fn read(&mut self, read: Fingerprint) {
        (self.read, self.seen) = (read, None);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changed_files_are_read_once_they_have_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let files = Files::of(Some(&path));
        let start = Instant::now();
        let mut watch = Watch::new(files.fingerprint(), start);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!watch.is_due(at(999), || unreachable!("checked once a second")));
        assert!(!watch.is_due(at(1000), || files.fingerprint()), "nothing has changed");
        fs::write(&path, "mode = ").unwrap();
        assert!(!watch.is_due(at(1900), || unreachable!()));
        assert!(!watch.is_due(at(2000), || files.fingerprint()), "somebody may be writing");
        fs::write(&path, "mode = \"audit\"").unwrap();
        assert!(!watch.is_due(at(2200), || files.fingerprint()), "somebody is");
        assert!(watch.is_due(at(2400), || files.fingerprint()));
        watch.read(files.fingerprint());
        assert!(!watch.is_due(at(3500), || files.fingerprint()));
    }
}
