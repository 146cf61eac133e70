//! # A host's samples over an hour

/// The course of a series. Counters' numbers are per minute, except for single increments.
#[derive(Clone, Copy)]
pub enum Values {
    /// A gauge: without the fault, and with it.
    Level(u32, u32),
    /// A rising counter: without the fault, and with it.
    Rate(u32, u32),
    /// A constant counter, to which the fault adds once.
    Step(u32, u32),
    /// A counter whose series the fault creates, and what it adds.
    NewRate(u32),
    NewStep(u32),
    /// 1 until the fault, or from then on.
    Until,
    From,
    /// When the VM was first seen.
    Began,
}

use Values::*;

/// Events in minutes; [`NEVER`] if they do not occur.
#[derive(Clone, Copy)]
pub struct Timeline {
    /// The start of the fault.
    pub fault: f64,
    /// The first sample.
    pub first: f64,
    /// When counters are reset.
    pub reset: f64,
    /// The gap without scrapes.
    pub gap: (f64, f64),
    /// In the gap Prometheus cannot scrape; otherwise it is down itself.
    pub noticed: bool,
    /// When the VM started, if within the hour.
    pub began: f64,
}

pub const NEVER: f64 = f64::INFINITY;
pub const MINUTES: f64 = 70.0;
/// The day before.
const LONG_AGO: f64 = -1440.0;
/// Shorter than any series' step.
const BLINK: f64 = 1e-6;

impl Timeline {
    /// The fault's start, or the first scrape after it.
    pub fn visible(&self) -> f64 {
        if (self.gap.0..self.gap.1).contains(&self.fault) { self.gap.1 } else { self.fault }
    }

    /// A series' samples in promtool's notation, one per step.
    pub fn samples(&self, values: Values, every: f64) -> String {
        let steps = (MINUTES / every) as u32;
        let mut there = false;
        let mut samples = String::new();
        for step in 0..=steps {
            let at = f64::from(step) * every;
            let value = self.value(values, at);
            let sample = match value {
                Some(value) => value.to_string(),
                None if there && (self.noticed || !self.in_gap(at)) => "stale".into(),
                None => "_".into(),
            };
            there = value.is_some() || there && self.in_gap(at) && !self.noticed;
            samples += &sample;
            samples.push(' ');
        }
        samples
    }

    /// The samples of `up`: 0 where scraping fails.
    pub fn up(&self, values: Values, every: f64) -> String {
        let known = Self { gap: if self.noticed { (NEVER, NEVER) } else { self.gap }, ..*self };
        let samples = known.samples(values, every);
        let mut at = -every;
        let sample = |sample: &str| {
            at += every;
            let down = self.noticed && self.in_gap(at) && sample == "1";
            format!("{} ", if down { "0" } else { sample })
        };
        samples.split_whitespace().map(sample).collect()
    }

    fn in_gap(&self, at: f64) -> bool {
        (self.gap.0..self.gap.1).contains(&at)
    }

    fn value(&self, values: Values, at: f64) -> Option<f64> {
        if at < self.first || self.in_gap(at) {
            return None;
        }
        let counted = |from: f64| {
            let before = if at >= from { self.counted(values, from - BLINK) } else { 0.0 };
            (self.counted(values, at) - before + BLINK).floor()
        };
        let faulty = at >= self.fault;
        match values {
            Level(quiet, fault) => Some(f64::from(if faulty { fault } else { quiet })),
            Until => (!faulty).then_some(1.0),
            From => faulty.then_some(1.0),
            NewRate(_) | NewStep(_) if !faulty => None,
            Rate(..) | Step(..) | NewRate(_) | NewStep(_) => Some(counted(self.reset)),
            Began => {
                let began = [self.began, self.reset].into_iter().filter(|began| *began <= at);
                Some(began.fold(LONG_AGO, f64::max) * 60.0)
            }
        }
    }

    /// The value of a counter that is never reset.
    fn counted(&self, values: Values, to: f64) -> f64 {
        let [quiet, faulty] = [to.min(self.fault), (to - self.fault).max(0.0)];
        let once = f64::from(u8::from(to >= self.fault));
        match values {
            Rate(before, then) => f64::from(before) * quiet + f64::from(then) * faulty,
            Step(stands, more) => f64::from(stands) + f64::from(more) * once,
            NewRate(then) => f64::from(then) * (faulty + 1.0) * once,
            NewStep(more) => f64::from(more) * once,
            Level(..) | Until | From | Began => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Timeline = Timeline {
        fault: NEVER,
        first: 0.0,
        reset: NEVER,
        gap: (NEVER, NEVER),
        noticed: true,
        began: NEVER,
    };

    /// From the minute before the fourth, when it happens.
    fn around(timeline: Timeline, values: Values) -> String {
        let samples = timeline.samples(values, 1.0);
        samples.split_whitespace().skip(3).take(4).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_fault_shows_in_each_kind_of_series() {
        let faulty = Timeline { fault: 4.0, ..QUIET };
        assert_eq!(around(faulty, Level(5, 7)), "5 7 7 7");
        assert_eq!(around(faulty, Rate(1, 10)), "3 4 14 24");
        assert_eq!(around(faulty, Step(2, 3)), "2 5 5 5");
        assert_eq!(around(faulty, NewRate(10)), "_ 10 20 30");
        assert_eq!(around(faulty, NewStep(1)), "_ 1 1 1");
        assert_eq!(around(faulty, Until), "1 stale _ _");
        assert_eq!(around(faulty, From), "_ 1 1 1");
        assert_eq!(around(QUIET, Rate(1, 10)), "3 4 5 6");
    }

    #[test]
    fn gaps_resets_and_starts_look_as_in_prometheus() {
        let gap = Timeline { gap: (4.0, 6.0), ..QUIET };
        assert_eq!(around(gap, Rate(1, 0)), "3 stale _ 6");
        assert_eq!(around(Timeline { noticed: false, ..gap }, Rate(1, 0)), "3 _ _ 6");
        assert!(gap.up(Level(1, 0), 1.0).starts_with("1 1 1 1 0 0 1 "));
        assert!(Timeline { noticed: false, ..gap }.up(Until, 1.0).starts_with("1 1 1 1 _ _ 1 "));
        let reset = Timeline { reset: 4.0, fault: 5.0, ..QUIET };
        assert_eq!(around(reset, Rate(10, 100)), "30 0 10 110");
        assert_eq!(around(reset, Step(3, 3)), "3 0 3 3");
        assert_eq!(around(reset, Began), "-86400 240 240 240");
        assert_eq!(around(Timeline { first: 4.0, ..QUIET }, Step(3, 0)), "_ 3 3 3");
    }
}
