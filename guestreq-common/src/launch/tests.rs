use proptest::prelude::*;

use super::*;
use crate::command::{SNP_GCTX_CREATE, SNP_LAUNCH_START};

const MS: u64 = 1_000_000;

/// A command that queued, started and ended at these times.
fn command(number: u32, [queued, started, ended]: [u64; 3]) -> Running {
    Running {
        command: number,
        queued: MonotonicNs(queued),
        started: MonotonicNs(started),
        ended: MonotonicNs(ended),
        ..Running::default()
    }
}

/// The steps of a launch: number, how long the VMM took before, the queue and the PSP, outcome.
fn launch(steps: &[(u32, u64, u64, u64, Outcome)]) -> Launch {
    let mut it = Launch::default();
    let mut now = 1_000 * MS;
    for &(number, vmm, queue, service, outcome) in steps {
        let queued = now + vmm;
        now = queued + queue + service;
        it.add(&command(number, [queued, queued + queue, now]), outcome);
    }
    it
}

const FAILED: Outcome = Outcome(0x16);

#[test]
fn a_launch_lasts_from_its_first_command_s_queue_to_its_finish() {
    let it = launch(&[
        (SNP_GCTX_CREATE, 5, 10, 20, Outcome::OK),
        (SNP_LAUNCH_START, 1, 2, 3, Outcome::OK),
        (SNP_LAUNCH_UPDATE, 100, 200, 300, Outcome::OK),
        (SNP_LAUNCH_UPDATE, 100, 200, 300, Outcome::OK),
        (SNP_LAUNCH_FINISH, 7, 8, 9, Outcome::OK),
    ]);
    assert_eq!((it.state, it.commands, it.pages), (LaunchState::Finished as u32, 5, 2));
    assert_eq!(it.stage_ns, [420, 632, 208], "what came before the first command is no part");
    assert_eq!(it.started, MonotonicNs(1_000 * MS + 5));
    assert_eq!(it.duration_ns(), 420 + 632 + 208);
    assert_eq!((it.failed_command, it.failed_outcome), (0, 0));
    assert!(it.ended_at(it.latest) && !it.ended_at(it.started));
}

#[test]
fn what_comes_after_the_finish_is_no_part_of_it() {
    let steps = [
        (SNP_GCTX_CREATE, 0, 1, 1, Outcome::OK),
        (SNP_LAUNCH_FINISH, 0, 1, 1, Outcome::OK),
        (SNP_LAUNCH_FINISH, 9, 1, 1, FAILED),
        (SNP_LAUNCH_UPDATE, 9, 1, 1, Outcome::OK),
    ];
    assert_eq!(launch(&steps), launch(&steps[..2]));
    let mut it = launch(&steps);
    assert!(!it.end(false), "it had ended");
    assert_eq!(it.state, LaunchState::Finished as u32);
}

#[test]
fn a_failed_command_is_remembered_until_it_succeeds() {
    let steps = [
        (SNP_GCTX_CREATE, 0, 1, 1, Outcome::OK),
        (SNP_LAUNCH_UPDATE, 0, 1, 1, FAILED),
        (SNP_LAUNCH_START, 0, 1, 1, Outcome::OK),
        (SNP_LAUNCH_UPDATE, 0, 1, 1, Outcome::OK),
    ];
    let mut it = launch(&steps[..3]);
    assert!(it.is_running() && it.pages == 0 && it.commands == 3);
    assert_eq!((it.failed_command, it.failed_outcome), (SNP_LAUNCH_UPDATE, 0x16));
    assert!(it.end(false) && !it.end(false));
    assert_eq!(it.state, LaunchState::Failed as u32);
    let mut it = launch(&steps);
    assert_eq!((it.failed_command, it.failed_outcome, it.pages), (0, 0, 1), "tried again");
    it.end(false);
    assert_eq!(it.state, LaunchState::Abandoned as u32);
}

#[test]
fn a_launch_that_began_unobserved_is_partial_and_its_duration_not_counted() {
    let steps = [
        (SNP_GCTX_CREATE, 0, 1, 1, Outcome::OK),
        (SNP_LAUNCH_UPDATE, 0, 1, 1, Outcome::OK),
        (SNP_LAUNCH_FINISH, 0, 1, 1, Outcome::OK),
    ];
    let (whole, partial) = (launch(&steps), launch(&steps[1..]));
    assert_eq!((whole.partial, partial.partial), (0, 1));
    // SAFETY: LaunchTotals consists of integers, for which all zeros is a value.
    let mut totals = unsafe { Box::<LaunchTotals>::new_zeroed().assume_init() };
    totals.end(&whole);
    totals.end(&partial);
    assert_eq!(totals.ended[LaunchState::Finished as usize], 2);
    assert_eq!(totals.duration.iter().sum::<u64>(), 1);
}

#[test]
fn a_finish_that_fails_does_not_finish_it() {
    let it = launch(&[(SNP_LAUNCH_FINISH, 0, 1, 1, FAILED)]);
    assert!(it.is_running() && !it.ended_at(it.latest));
}

#[test]
fn a_launch_whose_context_ends_is_abandoned_or_its_process_has_exited() {
    let begun = launch(&[(SNP_GCTX_CREATE, 0, 1, 1, Outcome::OK)]);
    let mut it = begun;
    assert!(it.end(false));
    assert_eq!(it.state, LaunchState::Abandoned as u32);
    let mut it = Launch { process_exited: 1, ..begun };
    assert!(it.end(false));
    assert_eq!(it.state, LaunchState::ProcessExited as u32);
    assert!(!Launch::default().end(false), "none was seen");
    let mut it = begun;
    assert!(it.end(true), "its guest runs: the end of SNP_LAUNCH_FINISH was missed");
    assert_eq!((it.state, it.partial), (LaunchState::Finished as u32, 1));
}

#[test]
fn totals_count_each_launch_once_and_durations_of_finished_ones() {
    // SAFETY: LaunchTotals consists of integers, for which all zeros is a value.
    let mut totals = unsafe { Box::<LaunchTotals>::new_zeroed().assume_init() };
    let finished = launch(&[
        (SNP_GCTX_CREATE, 0, 100 * MS, 100 * MS, Outcome::OK),
        (SNP_LAUNCH_FINISH, 0, 100 * MS, 200 * MS, Outcome::OK),
    ]);
    let mut abandoned = launch(&[(SNP_GCTX_CREATE, 0, 1, 1, Outcome::OK)]);
    abandoned.end(false);
    assert_eq!(totals.end(&finished), 1);
    assert_eq!(totals.end(&abandoned), 2);
    assert_eq!(totals.history, 2);
    assert_eq!(totals.ended[LaunchState::Finished as usize], 1);
    assert_eq!(totals.ended[LaunchState::Abandoned as usize], 1);
    assert_eq!((totals.duration.iter().sum::<u64>(), totals.duration_ns), (1, 500 * MS));
    // 25 ms times 20.
    assert_eq!(totals.duration[histogram::slot(25 * MS)], 1);
    totals.add([1, 2, 3]);
    totals.add([1, 2, 3]);
    assert_eq!(totals.stage_ns, [2, 4, 6]);
}

#[test]
fn the_last_launches_each_have_an_entry() {
    let entries: std::collections::BTreeSet<_> =
        (1_000..1_000 + u64::from(HISTORY)).map(EndedLaunch::index).collect();
    assert_eq!(entries.len(), HISTORY as usize);
    assert_eq!(EndedLaunch::index(1), EndedLaunch::index(1 + u64::from(HISTORY)));
}

proptest! {
    #[test]
    fn stages_sum_to_the_duration_whatever_the_clocks_say(
        steps in proptest::collection::vec((0u64..1 << 40, 0u64..1 << 40, 0u64..1 << 40), 1..50),
    ) {
        let mut it = Launch::default();
        let mut latest = 0;
        for (queued, started, now) in steps {
            // Commands are counted in the order in which they end.
            let now = now.max(latest);
            latest = now;
            let before = it.stage_ns;
            let queued = queued.min(now);
            let added = it.add(&command(SNP_LAUNCH_UPDATE, [queued, started, now]), Outcome::OK);
            for stage in 0..LAUNCH_STAGES {
                prop_assert_eq!(it.stage_ns[stage], before[stage] + added[stage]);
            }
        }
        prop_assert_eq!(it.stage_ns.iter().sum::<u64>(), it.duration_ns());
    }
}
