//! # Threads that may block
//!
//! One for each question, as each may block for ever; their number is bounded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::background::{self, LoopWaker};

pub struct Threads<K, A> {
    most: usize,
    board: Arc<Board<K, A>>,
}

/// Questions, with answers that were not taken yet.
struct Board<K, A> {
    questions: Mutex<BTreeMap<K, Option<A>>>,
    answered: Condvar,
    wake: Arc<Notify>,
}

impl<K, A> Board<K, A> {
    fn questions(&self) -> MutexGuard<'_, BTreeMap<K, Option<A>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Ord + Send + 'static, A: Send + 'static> Threads<K, A> {
    pub fn new(most: usize, wake: Arc<Notify>) -> Self {
        let (questions, answered) = (Mutex::default(), Condvar::new());
        Threads { most, board: Arc::new(Board { questions, answered, wake }) }
    }

    /// Starts a thread for a question. False if that is pending, too many are open, or the thread
    /// cannot start.
    pub fn start(&self, key: K, read: impl FnOnce() -> A + Send + 'static) -> bool {
        let mut questions = self.board.questions();
        let open = questions.values().filter(|answer| answer.is_none()).count();
        if questions.contains_key(&key) || open >= self.most {
            return false;
        }
        let board = Arc::clone(&self.board);
        let started = background::start("proc", move |waker| {
            let mut place = Place { board, key, answer: None, waker };
            place.answer = Some(read());
        });
        if started.is_ok() {
            questions.insert(key, None);
        }
        started.is_ok()
    }

    /// The answer, if there is one.
    pub fn take(&self, key: &K) -> Option<A> {
        let mut questions = self.board.questions();
        let answer = questions.get_mut(key)?.take()?;
        questions.remove(key);
        Some(answer)
    }

    /// The same, waiting for at most `limit`.
    pub fn wait(&self, key: &K, limit: Duration) -> Option<A> {
        let end = Instant::now() + limit;
        let mut questions = self.board.questions();
        while questions.get(key).is_some_and(Option::is_none) {
            let left = end.checked_duration_since(Instant::now())?;
            let waited = self.board.answered.wait_timeout(questions, left);
            questions = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        questions.remove(key).flatten()
    }

    pub fn is_any_open(&self, is_such: impl Fn(&K) -> bool) -> bool {
        self.board.questions().iter().any(|(key, answer)| answer.is_none() && is_such(key))
    }

    /// Drops answers that are not wanted. Open questions keep their threads.
    pub fn keep(&self, is_wanted: impl Fn(&K) -> bool) {
        self.board.questions().retain(|key, answer| answer.is_none() || is_wanted(key));
    }
}

/// Owned by the thread: closes its question on drop, even after a panic.
struct Place<K: Ord, A> {
    board: Arc<Board<K, A>>,
    key: K,
    answer: Option<A>,
    waker: LoopWaker,
}

impl<K: Ord, A> Drop for Place<K, A> {
    fn drop(&mut self) {
        let mut questions = self.board.questions();
        match (questions.get_mut(&self.key), self.answer.take()) {
            (Some(place), Some(answer)) => *place = Some(answer),
            // The thread panicked.
            _ => drop(questions.remove(&self.key)),
        }
        drop(questions);
        self.board.answered.notify_all();
        let wake = Arc::clone(&self.board.wake);
        self.waker.run(move || wake.notify_one());
    }
}
