//! # Time series for sparklines
//!
//! Differences between successive answers of the agent: one value, and one column, per interval.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::Key;
use crate::wire::overview::Overview;

/// Wider than terminals.
const LENGTH: usize = 512;

/// Values of the last intervals, the latest last; `None` if unknown.
#[derive(Debug, Default, PartialEq)]
pub struct Series(VecDeque<Option<f32>>);

impl Series {
    fn push(&mut self, value: Option<f64>, times: usize) {
        for _ in 0..times {
            if self.0.len() == LENGTH {
                self.0.pop_front();
            }
            self.0.push_back(value.map(|value| value as f32));
        }
    }

    /// The latest first.
    pub fn latest(&self) -> impl Iterator<Item = Option<f64>> {
        self.0.iter().rev().map(|value| value.map(f64::from))
    }
}

#[derive(Default)]
pub struct History {
    /// The PSP's utilisation, 0 to 1.
    pub busy: Series,
    /// Guest requests that waited for the PSP.
    pub queue: Series,
    /// Requests per second.
    vms: BTreeMap<Key, Series>,
    last: Option<Totals>,
}

/// Counters of an answer.
struct Totals {
    at: f64,
    busy: f64,
    waited: f64,
    requests: BTreeMap<Key, u64>,
}

impl History {
    pub fn vm(&self, key: &Key) -> Option<&Series> {
        self.vms.get(key)
    }

    pub fn take(&mut self, data: &Overview, interval: Duration) {
        let now = Totals {
            at: data.agent.monotonic_seconds,
            busy: data.psp.busy_seconds,
            waited: data.psp.waited_seconds,
            requests: data.vms.vms.iter().map(|vm| (Key::of(vm), vm.requests)).collect(),
        };
        self.vms.retain(|key, _| now.requests.contains_key(key));
        let Some(old) = self.last.replace(now) else { return };
        let Some(now) = &self.last else { return };
        let elapsed = now.at - old.at;
        if elapsed <= 0.0 {
            return;
        }
        // After a pause or without an agent, the mean fills the gap.
        let times = (elapsed / interval.as_secs_f64()).round().clamp(1.0, LENGTH as f64) as usize;
        // A counter reset: unknown.
        let rate = |now: f64, old: f64| (now >= old).then_some((now - old) / elapsed);
        self.busy.push(rate(now.busy, old.busy).map(|busy| busy.min(1.0)), times);
        let waiting = rate(now.waited, old.waited).map(|waited| match waited {
            // Waits count once they end, which they do not while the PSP hangs.
            0.0 => data.psp.queue_length as f64,
            waited => waited,
        });
        self.queue.push(waiting, times);
        for (key, requests) in &now.requests {
            let before = old.requests.get(key).copied().unwrap_or(0);
            let rate = rate(*requests as f64, before as f64);
            self.vms.entry(key.clone()).or_default().push(rate, times);
        }
    }
}
