//! # All of it at once
//!
//! VMMs whose memory is locked, names that are made to be mistaken, readers who take every place
//! that they get, a log that nobody takes, a disk that hangs, VMs that come and go, and agents that
//! end and begin all the while, under an agent that enforces. What is promised of each alone holds of
//! all together: counts are the firmware's, nothing that is denied reaches it, root is answered, and
//! nothing is said that is not so. Under a minute in the tests; for as long as one likes with
//! `cargo xtask test --only storm --minutes N`.

mod agents;
mod crowd;
mod disk;
mod end;
mod guests;
mod questions;
mod round;
mod scrapes;
mod stuck;

use std::{
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use questions::Asked;
use round::Storm;

use super::{outlive::Host, soak::length};
use crate::{
    agent,
    host::{self, Firmware},
    scenario::{Context, Outcome, Scenario},
};

pub const STORM: Scenario = Scenario {
    id: "stress/all_at_once",
    description: "with all faults at once counts are exact, enforcement holds, root is served and all reports are true",
    check: storm,
};

/// What those who act and those who watch know of each other.
pub struct Shared {
    /// Who reads it holds an agent that is up: it ends only under the lock of who writes.
    up: RwLock<()>,
    pid: AtomicU32,
    /// Changes wait for the disk, and are not asked for.
    disk_hangs: AtomicBool,
    /// The agent's log is taken.
    log_is_taken: AtomicBool,
    /// Somebody of the crowd has followed events.
    is_followed: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn storm(context: &Context) -> Result<Outcome> {
    let length = length(context, Duration::from_secs(30), Duration::from_secs(600))?;
    let host = Host::fresh(&guests::lines())?;
    let shared = Shared {
        up: RwLock::new(()),
        pid: AtomicU32::new(0),
        disk_hangs: AtomicBool::new(false),
        log_is_taken: AtomicBool::new(true),
        is_followed: AtomicBool::new(false),
        over: AtomicBool::new(false),
    };
    let mut storm = Storm::start(&host, &shared)?;
    storm.guests()?;
    let idle = Asked::at_rest(&shared)?;
    let start = Instant::now();
    let (questions, scrapes, crowd) = thread::scope(|scope| {
        let questions = scope.spawn(|| questions::ask(&shared));
        let scrapes = scope.spawn(|| scrapes::watch(&shared, &host));
        let crowd = scope.spawn(|| crowd::press(&shared));
        let mut rounds = || -> Result<()> {
            while start.elapsed() < length || !storm.has_done_all() {
                ensure!(!questions.is_finished() && !scrapes.is_finished(), "nobody watches");
                storm.round()?;
            }
            storm.calm()
        };
        let done = rounds();
        shared.over.store(true, Ordering::Relaxed);
        // Who watches knows more of what went wrong than who acted.
        let watched = (joined(questions), joined(scrapes), joined(crowd));
        Ok::<_, anyhow::Error>(match (done, watched) {
            (Ok(()), (questions, scrapes, crowd)) => (questions?, scrapes?, crowd?),
            (Err(error), (questions, scrapes, _)) => {
                questions.context("who asks")?;
                scrapes.context("who scrapes")?;
                return Err(error);
            }
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let summary = storm.summary();
    let counted = storm.finish_guests()?;
    gate_gone(&storm)?;
    println!(
        "{seconds:.0} s: {}, {crowd}, {scrapes}, {counted}, worst answer {:.0?}",
        summary,
        questions.worst()
    );
    println!("{}", questions.compared(&idle)?);
    questions.are_in_time(&idle)?;
    let agent = storm.end()?;
    host.end(agent)?;
    Firmware::reset()?;
    Ok(Outcome::Kept)
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread has panicked"))?
}

/// "Verified" was no word that is always there.
fn gate_gone(storm: &Storm<'_>) -> Result<()> {
    host::rmmod("guestreq_gate")?;
    let verified = |expected: f64| -> Result<()> {
        let metrics = storm.agent()?.scrape()?;
        let said = metrics.sum("guestreq_enforcement_info", &[("verified", "true")]);
        ensure!(said == expected, "verified {said}: {}", agent::get("/readyz")?.1);
        Ok(())
    };
    let told = verified(0.0).context("without a gate");
    host::insmod("guestreq_gate", &[])?;
    told?;
    verified(1.0).context("with the gate again")
}
