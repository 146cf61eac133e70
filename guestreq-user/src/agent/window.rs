//! # The last seconds
//!
//! Totals say who used the PSP since the start; an operator wants to know who
//! does now. One sample a second, kept for [`WINDOW`].

use std::collections::{BTreeMap, VecDeque};

/// How far "now" reaches back, in seconds.
const WINDOW: usize = 10;

/// A VM, by its slot and the slot's generation.
type Key = (u32, u32);

/// Totals at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub at_ns: u64,
    pub busy_ns: u64,
    pub queue_ns: u64,
    /// Requests and PSP time by VM.
    pub vms: BTreeMap<Key, (u64, u64)>,
}

#[derive(Default)]
pub struct Window {
    samples: VecDeque<Sample>,
}

/// What happened within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recent {
    pub requests_per_second: f64,
    /// PSP time per time, 0 to 1.
    pub psp_share: f64,
}

impl Window {
    pub fn push(&mut self, sample: Sample) {
        if self.samples.len() > WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Seconds between the oldest sample and now.
    pub fn seconds(&self, now: &Sample) -> f64 {
        self.samples.front().map_or(0.0, |old| now.at_ns.saturating_sub(old.at_ns) as f64 / 1e9)
    }

    /// The PSP's utilisation (0 to 1), and the mean number of waiting requests
    /// (Little's law: time waited per time).
    pub fn host(&self, now: &Sample) -> (f64, f64) {
        let Some(old) = self.samples.front() else { return (0.0, 0.0) };
        let elapsed = now.at_ns.saturating_sub(old.at_ns).max(1) as f64;
        let busy = now.busy_ns.saturating_sub(old.busy_ns) as f64 / elapsed;
        let waiting = now.queue_ns.saturating_sub(old.queue_ns) as f64 / elapsed;
        (busy, waiting)
    }

    pub fn vm(&self, now: &Sample, key: Key) -> Recent {
        let (Some(old), Some(&(requests, psp))) = (self.samples.front(), now.vms.get(&key)) else {
            return Recent::default();
        };
        // A VM that came within the window began at zero.
        let (old_requests, old_psp) = old.vms.get(&key).copied().unwrap_or_default();
        let elapsed = now.at_ns.saturating_sub(old.at_ns).max(1) as f64;
        Recent {
            requests_per_second: requests.saturating_sub(old_requests) as f64 * 1e9 / elapsed,
            psp_share: psp.saturating_sub(old_psp) as f64 / elapsed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, busy: u64, vm: Option<(u64, u64)>) -> Sample {
        Sample {
            at_ns: second * 1_000_000_000,
            busy_ns: busy,
            queue_ns: 2 * busy,
            vms: vm.map(|values| ((3, 1), values)).into_iter().collect(),
        }
    }

    #[test]
    fn only_the_window_counts() {
        let mut window = Window::default();
        for second in 0..=30 {
            window.push(sample(second, second * 500_000_000, Some((second * 7, 0))));
        }
        let now = sample(30, 15_000_000_000, Some((210, 0)));
        assert_eq!(window.seconds(&now), 10.0);
        assert_eq!(window.host(&now), (0.5, 1.0));
        assert_eq!(window.vm(&now, (3, 1)).requests_per_second, 7.0);
    }

    #[test]
    fn a_vm_that_came_just_now_began_at_zero() {
        let mut window = Window::default();
        window.push(sample(0, 0, None));
        let recent = window.vm(&sample(2, 0, Some((10, 1_000_000_000))), (3, 1));
        assert_eq!(recent, Recent { requests_per_second: 5.0, psp_share: 0.5 });
    }

    #[test]
    fn without_samples_nothing_is_claimed() {
        let now = sample(5, 9, Some((1, 1)));
        assert_eq!(Window::default().host(&now), (0.0, 0.0));
        assert_eq!(Window::default().vm(&now, (3, 1)), Recent::default());
    }
}
