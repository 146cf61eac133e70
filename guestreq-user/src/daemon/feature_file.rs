//! # Labels for Node Feature Discovery
//!
//! Its `local` source turns files of a folder into labels of the node. The file expires, so that the
//! labels of an agent that is gone disappear; so it is written again each minute, and at each change.
//! A thread writes, as the disk may hang.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use log::{info, warn};

use crate::{
    background,
    state::shared::{Shared, State},
    throttle::{ReportThrottle, without_numbers},
    wire::{
        conditions::Subject,
        events::Time,
        policy::{Enforcement, Name as _},
        status::FeatureFile as Status,
    },
};

const RENEW: Duration = Duration::from_secs(60);
/// Beyond the interval at which nfd-worker reads, 60 s by default.
const VALID: Duration = Duration::from_secs(180);
const RETRY: Duration = Duration::from_secs(10);
/// What nfd allows without further settings.
const NAMESPACE: &str = "feature.node.kubernetes.io";

/// What the file says; what is not known is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Labels {
    ready: bool,
    enforcing: bool,
    psp_dead: Option<bool>,
}

impl Labels {
    /// As /readyz, metrics and `guestreq condition` say.
    fn of(shared: &Shared) -> Labels {
        match &*shared.state() {
            State::Waiting { .. } => Labels { ready: false, enforcing: false, psp_dead: None },
            State::Observing(observer) => Labels {
                ready: observer.not_ready().is_none(),
                enforcing: Enforcement::from(observer.enforcement.status()).enforces(),
                psp_dead: Some(observer.psp().dead),
            },
        }
    }

    fn text(self, expiry: Time) -> String {
        let mut text = format!(
            "# Written by guestreq's agent, which renews it each minute.\n# +expiry-time={}\n",
            expiry.to_the_second()
        );
        let Labels { ready, enforcing, psp_dead } = self;
        let labels = [
            (Subject::Ready, Some(ready)),
            (Subject::Enforcing, Some(enforcing)),
            (Subject::PspDead, psp_dead),
        ];
        for (subject, value) in labels {
            if let Some(value) = value {
                text.push_str(&format!("{NAMESPACE}/guestreq-{}={value}\n", subject.name()));
            }
        }
        text
    }
}

/// The result of a thread's work.
type Job = Arc<Mutex<Option<Result<(), String>>>>;

#[derive(Default)]
pub struct FeatureFile {
    path: Option<PathBuf>,
    /// What was written last, successfully or not, and when.
    tried: Option<(Labels, Instant)>,
    failed: bool,
    running: Option<Job>,
    failure: ReportThrottle<Option<String>>,
}

impl FeatureFile {
    /// Called by the agent's loop.
    pub fn update(&mut self, path: Option<&Path>, shared: &Shared) {
        if path.is_none() && self.path.is_none() && self.running.is_none() {
            return;
        }
        if let Some(job) = &self.running {
            let Some(done) = job.lock().unwrap_or_else(PoisonError::into_inner).take() else {
                return;
            };
            self.running = None;
            self.finish(done.err(), shared);
        }
        if self.path.as_deref() != path {
            let old = std::mem::replace(&mut self.path, path.map(Path::to_owned));
            *self = FeatureFile { path: self.path.take(), ..FeatureFile::default() };
            *shared.feature_file() = self.status(None);
            if let Some(old) = old {
                self.start(move || remove(&old));
                return;
            }
        }
        let Some(path) = self.path.clone() else { return };
        let now = Instant::now();
        let labels = Labels::of(shared);
        if self.is_due(labels, now) {
            self.tried = Some((labels, now));
            self.start(move || write(&path, &labels.text(Time::after(VALID))));
        }
    }

    fn is_due(&self, labels: Labels, now: Instant) -> bool {
        let Some((tried, at)) = self.tried else { return true };
        let since = now.saturating_duration_since(at);
        match self.failed {
            true => since >= RETRY,
            false => labels != tried || since >= RENEW,
        }
    }

    fn start(&mut self, work: impl FnOnce() -> io::Result<()> + Send + 'static) {
        let job = Job::default();
        let result = Arc::clone(&job);
        let set = move |done: io::Result<()>| {
            let done = done.map_err(|error| error.to_string());
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        };
        let failed = set.clone();
        if let Err(error) = background::start("features", move |_| set(work())) {
            failed(Err(error));
        }
        self.running = Some(job);
    }

    fn finish(&mut self, error: Option<String>, shared: &Shared) {
        self.failed = error.is_some();
        *shared.feature_file() = self.status(error.clone());
        if !self.failure.is_due(error.as_deref().map(without_numbers), Instant::now()) {
            return;
        }
        let Some(path) = &self.path else { return };
        let path = path.display();
        match error {
            Some(error) => {
                warn!("cannot write the labels for Node Feature Discovery: {path}: {error}")
            }
            None => info!("labels for Node Feature Discovery: {path}"),
        }
    }

    fn status(&self, error: Option<String>) -> Option<Status> {
        self.path.as_ref().map(|path| Status { path: path.display().to_string(), error })
    }
}

/// Replaces the file at once: nfd ignores files whose names begin with a dot.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Removes the file, if it is there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::config::Config;

    /// Calls the loop until its thread is done.
    fn settle(file: &mut FeatureFile, path: Option<&Path>, shared: &Shared) {
        for _ in 0..2000 {
            file.update(path, shared);
            if file.running.is_none() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the thread is not done");
    }

    fn waiting() -> Shared {
        Shared::new(&Config::default(), "no such host")
    }

    #[test]
    fn the_file_has_labels_that_expire_in_the_form_that_nfd_reads() {
        let labels = Labels { ready: true, enforcing: false, psp_dead: Some(true) };
        let at: Time = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(
            labels.text(at),
            "# Written by guestreq's agent, which renews it each minute.\n\
             # +expiry-time=2026-01-02T03:04:05Z\n\
             feature.node.kubernetes.io/guestreq-ready=true\n\
             feature.node.kubernetes.io/guestreq-enforcing=false\n\
             feature.node.kubernetes.io/guestreq-psp-dead=true\n"
        );
        assert!(!Labels { psp_dead: None, ..labels }.text(at).contains("psp"), "not known");
    }

    #[test]
    fn it_is_written_renewed_and_removed_when_the_key_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guestreq");
        let (mut file, shared) = (FeatureFile::default(), waiting());
        settle(&mut file, Some(&path), &shared);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("guestreq-ready=false\n"), "{text}");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let status = shared.feature_file().clone().unwrap();
        assert_eq!((status.path, status.error), (path.display().to_string(), None));
        let (labels, at) = file.tried.unwrap();
        assert!(!file.is_due(labels, at + RENEW - Duration::from_secs(1)));
        assert!(file.is_due(labels, at + RENEW) && RENEW < VALID);
        assert!(file.is_due(Labels { ready: true, ..labels }, at));
        settle(&mut file, None, &shared);
        assert!(!path.exists() && shared.feature_file().is_none());
    }

    #[test]
    fn a_folder_that_is_not_there_is_reported_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.d/guestreq");
        let (mut file, shared) = (FeatureFile::default(), waiting());
        settle(&mut file, Some(&path), &shared);
        let error = shared.feature_file().clone().unwrap().error.unwrap();
        assert!(error.contains("No such file"), "{error}");
        let (labels, at) = file.tried.unwrap();
        assert!(!file.is_due(labels, at + RETRY / 2) && file.is_due(labels, at + RETRY));
        fs::create_dir(path.parent().unwrap()).unwrap();
        file.tried = None;
        settle(&mut file, Some(&path), &shared);
        assert!(path.exists());
        assert_eq!(shared.feature_file().clone().unwrap().error, None);
    }
}
