//! # Reading the configuration again
//!
//! When its files have changed, or on SIGHUP. Once a second it is looked whether they
//! are others, which also tells a link that was turned to another target. They are read
//! once they have stood still for a moment, as somebody may still be writing. EventData
//! cannot be read or done changes nothing: what held before goes on, the reason is told,
//! and it is tried again each minute.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use log::warn;

use crate::{
    agent::config_status::ConfigStatus,
    agent::shared::{Shared, State},
    config::{Config, Files, Fingerprint},
    enforce::policies,
    wire::events::EventData,
};

const LOOK: Duration = Duration::from_secs(1);
/// For so long files have not changed before they are read.
const STILL: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(60);

pub struct Reloader {
    files: Files,
    watch: Watch,
    /// What this agent runs with, of what only a start reads.
    running: Config,
    /// A key that the command line decides, and no file.
    decided: Option<&'static str>,
    last_try: Instant,
}

impl Reloader {
    /// Files that were read before this, while they looked like that.
    pub fn new(
        files: Files,
        read: Fingerprint,
        running: &Config,
        decided: Option<&'static str>,
    ) -> Reloader {
        let now = Instant::now();
        let running = running.clone();
        Reloader { files, watch: Watch::new(read, now), running, decided, last_try: now }
    }

    /// Several times a second: whether to read them now.
    pub fn is_due(&mut self, failed: bool) -> bool {
        let now = Instant::now();
        let files = &self.files;
        self.watch.is_due(now, || files.fingerprint())
            || (failed && now.duration_since(self.last_try) >= RETRY)
    }

    /// Reads them, and has them hold; whether it did.
    pub fn reload(&mut self, config: &mut Config, shared: &Shared) -> bool {
        self.last_try = Instant::now();
        // Before they are read: what changes meanwhile is seen as a change.
        self.watch.read(self.files.fingerprint());
        match self.try_it(shared) {
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

    fn try_it(&mut self, shared: &Shared) -> Result<Config> {
        let config = Config::read(&self.files)?;
        let changed = match &mut *shared.state() {
            State::Observing(observer) => observer.reload(&config)?,
            State::Waiting { .. } => {
                // Nothing was done with the old one yet, but for the sockets.
                let Config { listen, socket, socket_group, .. } = self.running.clone();
                self.running = Config { listen, socket, socket_group, ..config.clone() };
                shared.set_configured(policies::configured(&config));
                "it holds once this host can be observed".to_owned()
            }
        };
        let mut pending = config.pending(&self.running);
        pending.retain(|key| Some(*key) != self.decided);
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

/// Whether files have become others, and stand still.
struct Watch {
    read: Fingerprint,
    /// What was seen last that is not what was read.
    seen: Option<Fingerprint>,
    next: Instant,
}

impl Watch {
    fn new(read: Fingerprint, now: Instant) -> Watch {
        Watch { read, seen: None, next: now + LOOK }
    }

    fn is_due(&mut self, now: Instant, look: impl FnOnce() -> Fingerprint) -> bool {
        if now < self.next {
            return false;
        }
        let found = look();
        if found == self.read {
            (self.seen, self.next) = (None, now + LOOK);
            return false;
        }
        let still = self.seen.as_ref() == Some(&found);
        (self.seen, self.next) = (Some(found), now + STILL);
        still
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
    fn files_are_read_once_they_have_changed_and_stand_still() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let files = Files::of(Some(&path));
        let start = Instant::now();
        let mut watch = Watch::new(files.fingerprint(), start);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!watch.is_due(at(999), || unreachable!("it is looked once a second")));
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
