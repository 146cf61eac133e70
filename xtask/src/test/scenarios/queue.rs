//! # Several guests at a time, then alone what compares times

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::{booted, durations};
use crate::progress;
use crate::rig::boot::Boot;
use crate::test::tally::Tally;

/// A group on a kernel.
pub struct Planned<'a> {
    pub expected: Duration,
    pub group: &'a str,
    /// Its scenarios that compare times.
    pub timed: &'a BTreeSet<String>,
    pub boot: Boot<'a>,
}

pub struct Queue<'a> {
    waiting: Vec<Planned<'a>>,
    limit: Duration,
    /// Whether each group runs as on every change, so that how long it took says how long the next one
    /// takes.
    whole: bool,
}

/// Tells scenarios that other guests run, too.
const BESIDE: &str = " rig.beside";

/// The maximum number of concurrent guests, which take up to 3 GiB each.
const GUESTS: usize = 4;

impl<'a> Queue<'a> {
    pub fn new(mut waiting: Vec<Planned<'a>>, limit: Duration, whole: bool) -> Self {
        // Longest last, as the queue is taken from its end: then all workers end at about the same
        // time.
        waiting.sort_by_key(|planned| planned.expected);
        Self { waiting, limit, whole }
    }

    /// Boots one more at a time than there are processors, as a guest uses one and is idle a quarter
    /// of its time.
    ///
    /// Other guests distort times: a scenario that compares times and fails beside them runs again
    /// alone, at the end, and only that counts.
    pub fn run(self, tally: &mut Tally) -> Result<()> {
        let Self { waiting, limit, whole } = self;
        let boots = waiting.len();
        let workers = thread::available_parallelism().map_or(2, |n| n.get() + 1);
        let workers = workers.min(GUESTS).min(boots);
        let (again, waiting) = (Mutex::new(Vec::new()), Mutex::new(waiting));
        let counts = Mutex::new(&mut *tally);
        let next = || waiting.lock().ok()?.pop();
        thread::scope(|scope| {
            let work = || -> Result<()> {
                while let Some(mut planned) = next() {
                    if boots > 1 {
                        planned.boot.cmdline += BESIDE;
                    }
                    let Planned { group, boot, timed, .. } = &planned;
                    let start = Instant::now();
                    let beside = if boots > 1 { Some(*timed) } else { None };
                    let outcome = booted::run(boot, group, limit, beside);
                    // It only decides in which order the next run starts them.
                    if whole
                        && outcome.is_whole()
                        && let Err(error) =
                            durations::keep(&boot.kernel.0.abi, group, start.elapsed())
                    {
                        progress::note(&format!("{group}: {error:#}"));
                    }
                    let poisoned = || anyhow!("a worker has panicked");
                    outcome.count(*counts.lock().map_err(|_| poisoned())?);
                    if !outcome.again.is_empty() {
                        let mut again = again.lock().map_err(|_| poisoned())?;
                        again.push((planned, outcome.again));
                    }
                }
                Ok(())
            };
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                worker.join().map_err(|_| anyhow!("a worker has panicked"))??;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        let again = again.into_inner().map_err(|_| anyhow!("a worker has panicked"))?;
        for (mut planned, ids) in again {
            let cmdline = planned.boot.cmdline.replace(BESIDE, "");
            let others = cmdline.split(' ').filter(|it| !it.starts_with("rig.only="));
            planned.boot.cmdline =
                format!("{} rig.only={}", others.collect::<Vec<_>>().join(" "), ids.join(","));
            let outcome =
                booted::run(&planned.boot, &format!("{}-alone", planned.group), limit, None);
            outcome.count(tally);
        }
        Ok(())
    }
}
