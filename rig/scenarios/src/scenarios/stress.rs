//! # All faults at once
//!
//! VMMs with locked memory, misleading names, readers that take all connections, an unread log, a
//! hung disk, short-lived VMs, and agents that are replaced. What holds for each fault holds for
//! all together: counts equal the firmware's, nothing denied reaches it, root is served, and every
//! report is true. Under a minute in the tests, longer with
//! `cargo xtask test --only stress --minutes N`.

mod agents;
mod clients;
mod disk;
mod final_counts;
mod guests;
mod locked_vms;
mod queries;
mod round;
mod scrapes;

use std::{
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use queries::Latencies;
use round::Stress;

use super::{soak::length, takeover::Host};
use crate::{
    agent,
    host::{self, Firmware},
    scenario::{Context, Group, Status, scenario},
};

scenario!(night ALL_AT_ONCE: "stress/all_at_once" = all_at_once,
    "with all faults at once counts are exact, enforcement holds, root is served and all reports are true");

pub const GROUP: Group =
    Group { name: "stress", memory_mib: 2048, once: &[ALL_AT_ONCE], ..Group::DEFAULT };

/// State shared by the threads that act and those that watch.
pub struct Shared {
    /// Readers hold an agent that is up; it is replaced under the write lock.
    up: RwLock<()>,
    pid: AtomicU32,
    /// Changes would wait for the disk and are not requested.
    disk_hangs: AtomicBool,
    /// The agent's log is read.
    log_is_read: AtomicBool,
    /// A client has followed events.
    is_followed: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn all_at_once(context: &Context) -> Result<Status> {
    let length = length(context, Duration::from_secs(30), Duration::from_secs(600))?;
    let host = Host::fresh(&guests::lines())?;
    let shared = Shared {
        up: RwLock::new(()),
        pid: AtomicU32::new(0),
        disk_hangs: AtomicBool::new(false),
        log_is_read: AtomicBool::new(true),
        is_followed: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    let mut stress = Stress::start(&host, &shared)?;
    stress.guests()?;
    let idle = Latencies::at_rest(&shared)?;
    let start = Instant::now();
    let (queries, scrapes, clients) = thread::scope(|scope| {
        let queries = scope.spawn(|| queries::run(&shared));
        let scrapes = scope.spawn(|| scrapes::watch(&shared, &host));
        let clients = scope.spawn(|| clients::run(&shared));
        let mut rounds = || -> Result<()> {
            while start.elapsed() < length || !stress.is_complete() {
                ensure!(
                    !queries.is_finished() && !scrapes.is_finished(),
                    "the watching threads have ended"
                );
                stress.round()?;
            }
            stress.release()
        };
        let done = rounds();
        shared.over.store(true, Ordering::Relaxed);
        // The watching threads report the cause.
        let watched = (joined(queries), joined(scrapes), joined(clients));
        Ok::<_, anyhow::Error>(match (done, watched) {
            (Ok(()), (queries, scrapes, clients)) => (queries?, scrapes?, clients?),
            (Err(error), (queries, scrapes, _)) => {
                queries.context("queries")?;
                scrapes.context("scrapes")?;
                return Err(error);
            }
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let summary = stress.summary();
    let counted = stress.finish_guests()?;
    gate_removed(&stress)?;
    println!(
        "{seconds:.0} s: {}, {clients}, {scrapes}, {counted}, worst answer {:.0?}",
        summary,
        queries.worst()
    );
    println!("{}", queries.compared(&idle)?);
    queries.check_latencies(&idle)?;
    let agent = stress.end()?;
    host.end(agent)?;
    Firmware::reset()?;
    Ok(Status::Passed)
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread has panicked"))?
}

/// Shows that `verified` can become false.
fn gate_removed(stress: &Stress<'_>) -> Result<()> {
    host::rmmod("guestreq_gate")?;
    let verified = |expected: f64| -> Result<()> {
        let metrics = stress.agent()?.scrape()?;
        let found = metrics.sum("guestreq_enforcement_info", &[("verified", "true")]);
        ensure!(found == expected, "verified {found}: {}", agent::get("/readyz")?.1);
        Ok(())
    };
    let reported = verified(0.0).context("without a gate");
    host::insmod("guestreq_gate", &[])?;
    reported?;
    verified(1.0).context("with the gate again")
}
