//! # What the servers share with the agent's loop

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
};

/// What the agent is doing.
pub enum State {
    /// `--stay` on a host that cannot be observed (yet).
    Waiting {
        reason: String,
    },
    Observing(Box<Observer>),
}

/// Cheap to clone: all of them share one.
#[derive(Clone)]
pub struct Shared {
    state: Arc<Mutex<State>>,
    /// What happened, and who listens.
    pub journal: Arc<Journal>,
    /// What is asked for, while nothing is known of what is done.
    asked: Arc<Mutex<enforcement::Status>>,
    /// What was read of the configuration.
    config: Arc<Mutex<ConfigStatus>>,
    /// Who changes policies has it: nobody else does until that is done, though all else goes on.
    pub changing: Arc<tokio::sync::Mutex<()>>,
    /// A process has answered late; the loop takes its answer.
    pub learned: Arc<Notify>,
    /// When the loop last went round.
    alive: Arc<Mutex<Instant>>,
}

impl Shared {
    /// Of an agent that observes nothing yet, and why.
    pub fn new(config: &Config, reason: &str) -> Shared {
        Shared {
            state: Arc::new(Mutex::new(State::Waiting { reason: reason.to_owned() })),
            journal: Arc::new(Journal::new()),
            asked: Arc::new(Mutex::new(policies::asked(config))),
            config: Arc::new(Mutex::new(ConfigStatus::of(config))),
            changing: Arc::default(),
            learned: Arc::default(),
            alive: Arc::new(Mutex::new(Instant::now())),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn asked(&self) -> enforcement::Status {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn ask(&self, status: enforcement::Status) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    pub fn config(&self) -> MutexGuard<'_, ConfigStatus> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the programs tell every request while somebody listens to all, and no longer.
    pub fn update_request_events(&self) {
        if let State::Observing(observer) = &*self.state() {
            observer.report_all(self.journal.wants_requests());
        }
    }

    /// The loop is not dead.
    pub fn mark_alive(&self) {
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Why this agent's loop counts as dead, if it does.
    pub fn dead(&self) -> Option<String> {
        let last = *self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.elapsed();
        (since > Duration::from_secs(5)).then(|| format!("the loop has not run for {since:.1?}"))
    }

    /// Why this agent is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        match &*self.state() {
            State::Waiting { reason } => Some(reason.clone()),
            State::Observing(observer) => observer.not_ready(),
        }
    }
}
