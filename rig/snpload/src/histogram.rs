//! # Durations
//!
//! Counted in slots whose width grows with the duration: 64 for each doubling, so that percentiles
//! are off by less than 1 %.

use std::collections::BTreeMap;
use std::time::Duration;

/// log2 of the slots for each doubling.
const PRECISION: u32 = 6;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// at most some 3800 slots; a run fills a few hundred
    slots: BTreeMap<u16, u64>,
    count: u64,
    max: Duration,
}

impl Histogram {
    pub fn add(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        *self.slots.entry(slot(ns)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(took);
    }

    pub fn merge(&mut self, other: Self) {
        for (slot, n) in other.slots {
            *self.slots.entry(slot).or_default() += n;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max_us(&self) -> f64 {
        self.max.as_secs_f64() * 1e6
    }

    /// The shortest duration that this percentage does not exceed, in microseconds; 0 if there is
    /// none.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let rank = ((self.count as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        for (slot, n) in &self.slots {
            seen += n;
            if seen >= rank {
                return (middle(*slot) / 1e3).min(self.max_us());
            }
        }
        0.0
    }
}

/// The first 128 slots are a nanosecond wide, the next 64 two, and so on.
fn slot(ns: u64) -> u16 {
    let log2 = ns.checked_ilog2().unwrap_or(0);
    let shift = log2.saturating_sub(PRECISION);
    ((shift << PRECISION) as u64 + (ns >> shift)) as u16
}

fn middle(slot: u16) -> f64 {
    let shift = (u32::from(slot) >> PRECISION).saturating_sub(1);
    let first = (u64::from(slot) - u64::from(shift << PRECISION)) << shift;
    first as f64 + ((1u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(us: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        us.into_iter().for_each(|us| histogram.add(Duration::from_micros(us)));
        histogram
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= b * 0.01, "{a} is not {b}");
    }

    #[test]
    fn each_duration_is_near_the_middle_of_its_slot() {
        let mut last = 0;
        for log2 in 0..64 {
            for step in 0..200u64 {
                let ns = ((1 << log2) + (u128::from(step) << log2) / 200) as u64;
                assert!(slot(ns) >= last, "{ns}");
                last = slot(ns);
                assert!((middle(last) - ns as f64).abs() <= ns as f64 * 0.01, "{ns}");
            }
        }
        assert!(slot(u64::MAX) < 3800);
    }

    #[test]
    fn percentiles_of_known_durations() {
        let histogram = of(1..=1000);
        near(histogram.percentile_us(50.0), 500.0);
        near(histogram.percentile_us(99.0), 990.0);
        near(histogram.percentile_us(100.0), 1000.0);
        assert_eq!((histogram.count(), histogram.max_us()), (1000, 1000.0));
    }

    #[test]
    fn a_rare_slow_one_shows_where_it_should() {
        let histogram = of(std::iter::repeat_n(100, 985).chain([60_000_000; 15]));
        near(histogram.percentile_us(50.0), 100.0);
        near(histogram.percentile_us(98.5), 100.0);
        near(histogram.percentile_us(99.0), 60e6);
    }

    #[test]
    fn percentiles_of_few_durations_or_none() {
        assert_eq!(of([]).percentile_us(99.0), 0.0);
        assert_eq!(of([7]).percentile_us(50.0), of([7]).percentile_us(99.0));
        near(of([0]).percentile_us(50.0), 0.0);
    }

    #[test]
    fn merging_equals_counting_together() {
        let mut merged = of(1..=10);
        merged.merge(of(11..=30));
        assert_eq!(merged, of(1..=30));
    }
}
