//! # Whether the PSP is dead
//!
//! The condition of the alert GuestreqPspDead, from the same counts: either requests wait and no
//! command completes; or, after ccp timed out and gave the PSP up, requests fail and none is answered.
//! One answer ends it. At first the PSP counts as alive.

use std::time::{Duration, Instant};

use guestreq_common::{command::SNP_GUEST_REQUEST, host::Host, outcome::Outcome};

use crate::{text::duration, wire::status::PspState};

/// Without a completed command while requests wait.
const STUCK: Duration = Duration::from_secs(60);
/// Without an answered request while requests fail. Longer than ccp's timeout of 100 s: a firmware
/// update may hold the PSP that long.
const FAILING: Duration = Duration::from_secs(180);
/// How long it must hold, as `for` in the alert.
const HELD: Duration = Duration::from_secs(60);

/// Totals of a host at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Guest requests that wait now.
    pub waiting: u64,
    /// Completed commands, of all types and of guest requests.
    pub commands: u64,
    pub request_commands: u64,
    /// Guest requests that the host failed, and those that the PSP answered.
    pub failed: u64,
    pub answered: u64,
}

impl Counts {
    pub fn of(host: &Host, waiting: u64) -> Counts {
        let of = |wanted: fn(Outcome) -> bool| {
            let outcomes = || Outcome::all().filter(|outcome| wanted(*outcome));
            let results = host.totals.messages.iter().map(|message| &message.results);
            results.flat_map(|results| outcomes().map(|outcome| results.get(outcome))).sum()
        };
        let commands = &host.totals.commands;
        Counts {
            waiting,
            commands: commands.iter().map(|command| command.count).sum(),
            request_commands: commands[SNP_GUEST_REQUEST as usize].count,
            failed: of(|outcome| outcome == Outcome::HOST_ERROR),
            answered: of(|outcome| {
                ![Outcome::HOST_ERROR, Outcome::DENIED, Outcome::BUSY].contains(&outcome)
            }),
        }
    }
}

/// The counts' latest changes.
#[derive(Debug)]
pub struct PspWatch {
    last: Counts,
    idle: Instant,
    completed: Instant,
    answered: Instant,
    /// `None` before the first.
    failed: Option<Instant>,
    requested: Option<Instant>,
    /// Since when one of the two holds.
    since: Option<Instant>,
    state: PspState,
}

impl PspWatch {
    pub fn new(counts: Counts, now: Instant) -> PspWatch {
        PspWatch {
            last: counts,
            idle: now,
            completed: now,
            answered: now,
            failed: None,
            requested: None,
            since: None,
            state: PspState::default(),
        }
    }

    pub fn state(&self) -> &PspState {
        &self.state
    }

    /// To be called about once a second.
    pub fn update(&mut self, counts: Counts, now: Instant) {
        let last = std::mem::replace(&mut self.last, counts);
        if counts.waiting == 0 {
            self.idle = now;
        }
        if counts.commands != last.commands {
            self.completed = now;
        }
        if counts.answered != last.answered {
            self.answered = now;
        }
        if counts.failed > last.failed {
            self.failed = Some(now);
        }
        if counts.request_commands > last.request_commands {
            self.requested = Some(now);
        }
        let reason = self.reason(now);
        self.since = reason.as_ref().map(|_| self.since.unwrap_or(now));
        let held = self.since.is_some_and(|since| now.duration_since(since) >= HELD);
        self.state = PspState { dead: held, reason: reason.filter(|_| held) };
    }

    fn reason(&self, now: Instant) -> Option<String> {
        let for_long = |since: Instant, long| now.saturating_duration_since(since) >= long;
        let recent = |at: Option<Instant>| at.is_some_and(|at| !for_long(at, FAILING));
        if for_long(self.idle, STUCK) && for_long(self.completed, STUCK) {
            let since = now.saturating_duration_since(self.completed).as_secs_f64();
            let waiting = self.last.waiting;
            return Some(format!(
                "no command completed for {}; requests waiting: {waiting}",
                duration(since)
            ));
        }
        let fails = recent(self.failed) && recent(self.requested);
        (fails && for_long(self.answered, FAILING)).then(|| {
            let since = now.saturating_duration_since(self.answered).as_secs_f64();
            format!("every request fails; none was answered for {}", duration(since))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a minute-by-second history and returns when the PSP became dead, and alive again.
    fn changes(counts: impl Fn(u64) -> Counts, seconds: u64) -> Vec<u64> {
        let start = Instant::now();
        let mut watch = PspWatch::new(counts(0), start);
        let mut dead = false;
        let mut changes = Vec::new();
        for second in 1..seconds {
            watch.update(counts(second), start + Duration::from_secs(second));
            if watch.state().dead != dead {
                dead = !dead;
                changes.push(second);
            }
            assert_eq!(watch.state().reason.is_some(), dead);
        }
        changes
    }

    #[test]
    fn a_psp_that_hangs_is_dead_after_two_minutes_and_alive_with_the_next_command() {
        let hung = |second: u64| Counts {
            waiting: u64::from((10..400).contains(&second)),
            commands: second.min(10) + second.saturating_sub(399),
            ..Counts::default()
        };
        assert_eq!(changes(hung, 500), [130, 400]);
    }

    #[test]
    fn a_firmware_update_and_an_idle_or_busy_psp_are_no_death() {
        let updated = |second: u64| Counts {
            waiting: u64::from((10..110).contains(&second)),
            commands: second.min(10) + second.saturating_sub(109),
            ..Counts::default()
        };
        assert_eq!(changes(updated, 500), [0; 0]);
        assert_eq!(changes(|_| Counts::default(), 500), [0; 0], "idle");
        let busy = |second| Counts { waiting: 99, commands: second / 50, ..Counts::default() };
        assert_eq!(changes(busy, 500), [0; 0]);
    }

    #[test]
    fn a_psp_that_ccp_gave_up_is_dead_while_requests_fail_and_none_is_answered() {
        let given_up = |second: u64| {
            let failed = second.clamp(100, 700) - 100;
            Counts {
                commands: second,
                request_commands: second,
                failed,
                answered: second.min(100),
                ..Counts::default()
            }
        };
        // 100 + 180 + 60; the last failure is at 700, and counts for three minutes.
        assert_eq!(changes(given_up, 1000), [340, 880]);
        let some_fail = |second: u64| Counts { answered: second / 100, ..given_up(second) };
        assert_eq!(changes(some_fail, 1000), [0; 0], "others are answered");
    }
}
