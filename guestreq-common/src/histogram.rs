//! # Histogram slots
//!
//! Durations fall into 32 slots: five bounds per decade from 25 µs (a fast PSP command) to 60 s (the
//! guest has given up). Bounds are decimal because people read them on dashboards.

/// Slots of a histogram; the last one has no upper bound.
pub const SLOTS: usize = 32;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Upper bounds in nanoseconds, inclusive as Prometheus' `le`, of all slots but the last.
pub const BOUNDS: [u64; SLOTS - 1] = [
    25 * US,
    50 * US,
    100 * US,
    150 * US,
    250 * US,
    400 * US,
    650 * US,
    MS,
    1_500 * US,
    2_500 * US,
    4 * MS,
    6_500 * US,
    10 * MS,
    15 * MS,
    25 * MS,
    40 * MS,
    65 * MS,
    100 * MS,
    150 * MS,
    250 * MS,
    400 * MS,
    650 * MS,
    S,
    1_500 * MS,
    2_500 * MS,
    4 * S,
    6_500 * MS,
    10 * S,
    15 * S,
    30 * S,
    60 * S,
];

/// Counts per slot.
pub type Slots = [u64; SLOTS];

/// [`BOUNDS`] and one that nothing exceeds: a power of two, for the binary search.
const SEARCH: [u64; SLOTS] = {
    let mut search = [i64::MAX as u64; SLOTS];
    let mut i = 0;
    while i < BOUNDS.len() {
        search[i] = BOUNDS[i];
        i += 1;
    }
    search
};

/// 1 if a duration exceeds a bound: the sign of their difference.
#[inline(always)]
const fn exceeds(ns: u64, bound: usize) -> usize {
    (SEARCH[bound].wrapping_sub(ns) >> 63) as usize
}

/// The slot of a duration: a branchless binary search in five steps. With branches the verifier
/// would walk 32 paths per duration, multiplied by each other. Bits are set from the highest down,
/// so that the verifier sees the bound.
#[inline(always)]
pub const fn slot(ns: u64) -> usize {
    // More than 292 years would look negative.
    let ns = ns & i64::MAX as u64;
    let mut low = exceeds(ns, 15) << 4;
    low |= exceeds(ns, low | 7) << 3;
    low |= exceeds(ns, low | 3) << 2;
    low |= exceeds(ns, low | 1) << 1;
    low | exceeds(ns, low)
}

/// The `quantile` (0 to 1) of the observations in ns, interpolated linearly within its slot like
/// PromQL's `histogram_quantile`; `None` without observations. The open last slot returns its lower
/// bound.
pub fn quantile(slots: &Slots, quantile: f64) -> Option<u64> {
    let total: u64 = slots.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = quantile * total as f64;
    let mut below = 0u64;
    for (i, &count) in slots.iter().enumerate() {
        if count > 0 && (below + count) as f64 >= rank {
            let start = if i == 0 { 0 } else { BOUNDS[i - 1] };
            let Some(&end) = BOUNDS.get(i) else { return Some(start) };
            let part = ((rank - below as f64) / count as f64).clamp(0.0, 1.0);
            return Some(start + ((end - start) as f64 * part) as u64);
        }
        below += count;
    }
    BOUNDS.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_rise_from_25_us_to_60_s_by_five_a_decade() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((BOUNDS[0], BOUNDS[SLOTS - 2]), (25_000, 60_000_000_000));
        let decades: Vec<_> =
            BOUNDS.into_iter().filter(|b| (100 * US..=15 * S).contains(b)).collect();
        assert!(decades.windows(6).all(|bounds| bounds[5] == 10 * bounds[0]));
    }

    #[test]
    fn a_bound_belongs_to_its_own_slot() {
        for (i, &bound) in BOUNDS.iter().enumerate() {
            assert_eq!(slot(bound), i);
            assert_eq!(slot(bound + 1), i + 1);
        }
        assert_eq!(slot(0), 0);
        assert_eq!(slot(i64::MAX as u64), SLOTS - 1);
    }

    #[test]
    fn nothing_observed_has_no_quantile() {
        assert_eq!(quantile(&[0; SLOTS], 0.5), None);
    }

    #[test]
    fn a_quantile_is_interpolated_between_its_slot_s_bounds() {
        let mut slots = [0; SLOTS];
        (slots[0], slots[8]) = (2, 4);
        let of_six = |observations| quantile(&slots, observations / 6.0);
        assert_eq!(of_six(1.0), Some(12_500), "half of the slot that begins at 0");
        assert_eq!(of_six(2.0), Some(25_000));
        assert_eq!(of_six(3.0), Some(1_125_000), "a quarter of the one from 1 ms to 1.5 ms");
        assert_eq!(of_six(6.0), Some(1_500_000));
    }

    #[test]
    fn slots_without_observations_answer_nothing() {
        let mut slots = [0; SLOTS];
        slots[8] = 1;
        assert_eq!(quantile(&slots, 0.0), Some(MS), "where the first one begins that has some");
    }

    #[test]
    fn the_last_slot_reports_its_lower_bound() {
        let mut slots = [0; SLOTS];
        slots[SLOTS - 1] = 3;
        assert_eq!(quantile(&slots, 0.5), Some(60 * S));
    }

    proptest! {
        #[test]
        fn slot_is_the_first_bound_not_below(ns in 0..=i64::MAX as u64) {
            let naive = BOUNDS.iter().position(|&bound| ns <= bound).unwrap_or(SLOTS - 1);
            prop_assert_eq!(slot(ns), naive);
        }

        #[test]
        fn a_quantile_lies_in_a_slot_that_was_hit(
            values in proptest::collection::vec(0..120 * S, 1..50),
            q in 0.0..=1.0f64,
        ) {
            let mut slots = [0; SLOTS];
            for &ns in &values {
                slots[slot(ns)] += 1;
            }
            let answer = quantile(&slots, q).expect("there are observations");
            let max = values.iter().copied().max().unwrap_or(0);
            let top = BOUNDS.get(slot(max)).copied().unwrap_or(60 * S);
            prop_assert!(answer <= top);
        }
    }
}
