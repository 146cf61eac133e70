//! # Series of launches

use guestreq_common::launch::{BOUND_SCALE, LAUNCH_STAGE_NAMES, LaunchState, LaunchTotals};

use super::{definitions as metric, families::Families};
use crate::wire::launches::Launch;

/// How launches end.
const RESULTS: [LaunchState; 4] = [
    LaunchState::Finished,
    LaunchState::Failed,
    LaunchState::Abandoned,
    LaunchState::ProcessExited,
];

/// All series exist from the start: a new series is not an increase.
pub fn of_host(families: &mut Families, totals: &LaunchTotals) {
    for state in RESULTS {
        let count = totals.ended[state as usize] as f64;
        families.counter(&metric::LAUNCHES_ENDED, &[state.name()], count);
    }
    for (name, ns) in LAUNCH_STAGE_NAMES.iter().zip(totals.stage_ns) {
        families.counter(&metric::LAUNCH_STAGE, &[name], ns as f64 / 1e9);
    }
    let LaunchTotals { duration, duration_ns, .. } = totals;
    families.scaled_histogram(&metric::LAUNCH_DURATION, &[], duration, *duration_ns, BOUND_SCALE);
}

/// Those that run.
pub fn running(families: &mut Families, (running, stalled): (usize, usize)) {
    families.gauge(&metric::LAUNCHES, &[Launch::RUNNING], running as f64);
    families.gauge(&metric::LAUNCHES, &[Launch::STALLED], stalled as f64);
}
