//! # State shared by the servers and the agent's loop

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{config_status::ConfigStatus, observer::Observer};
use crate::{
    config::Config,
    enforce::{enforcement, policies},
    observe::journal::Journal,
    wire::status::FeatureFile,
};

pub enum State {
    /// `--stay` on a host that cannot be observed yet.
    Waiting {
        reason: String,
    },
    Observing(Box<Observer>),
}

/// Clones share the state.
#[derive(Clone)]
pub struct Shared {
    state: Arc<Mutex<State>>,
    pub journal: Arc<Journal>,
    /// The configured enforcement, reported while nothing is observed.
    configured: Arc<Mutex<enforcement::Status>>,
    config: Arc<Mutex<ConfigStatus>>,
    feature_file: Arc<Mutex<Option<FeatureFile>>>,
    /// Serializes policy changes.
    pub changing: Arc<tokio::sync::Mutex<()>>,
    /// A late answer about a process is ready for the loop.
    pub answer_ready: Arc<Notify>,
    /// When the loop last ran.
    alive: Arc<Mutex<Instant>>,
}

impl Shared {
    /// For an agent that observes nothing yet, for this reason.
    pub fn new(config: &Config, reason: &str) -> Shared {
        Shared {
            state: Arc::new(Mutex::new(State::Waiting { reason: reason.to_owned() })),
            journal: Arc::new(Journal::new()),
            configured: Arc::new(Mutex::new(policies::configured(config))),
            config: Arc::new(Mutex::new(ConfigStatus::of(config))),
            feature_file: Arc::default(),
            changing: Arc::default(),
            answer_ready: Arc::default(),
            alive: Arc::new(Mutex::new(Instant::now())),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn configured(&self) -> enforcement::Status {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_configured(&self, status: enforcement::Status) {
        *self.configured.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    pub fn config(&self) -> MutexGuard<'_, ConfigStatus> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn feature_file(&self) -> MutexGuard<'_, Option<FeatureFile>> {
        self.feature_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the programs report every request exactly while a follower wants all.
    pub fn update_request_events(&self) {
        if let State::Observing(observer) = &*self.state() {
            observer.report_all(self.journal.wants_requests());
        }
    }

    /// Called by the loop in each round.
    pub fn mark_alive(&self) {
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Why this agent's loop counts as dead: it has not run for 5 s.
    pub fn dead(&self) -> Option<String> {
        let last = *self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.elapsed();
        (since > Duration::from_secs(5)).then(|| format!("the loop has not run for {since:.1?}"))
    }

    pub fn not_ready(&self) -> Option<String> {
        match &*self.state() {
            State::Waiting { reason } => Some(reason.clone()),
            State::Observing(observer) => observer.not_ready(),
        }
    }
}
