//! # A hung disk
//!
//! Agents are replaced while a change waits for it.

use std::{
    fs,
    sync::{PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::round::Stress;
use crate::{agent::cli, scenarios::faults::files};

impl Stress<'_> {
    /// Starts a change that waits for the disk.
    pub fn disk_hangs(&mut self) -> Result<JoinHandle<Result<String>>> {
        let _down = self.shared.up.write().unwrap_or_else(PoisonError::into_inner);
        self.shared.disk_hangs.store(true, Ordering::Relaxed);
        files::hang()?;
        self.hangs += 1;
        let set = ["limit", "set", "--vm", "web", "--rate", "999/s", "--burst", "999"];
        let waits = thread::spawn(move || cli(&set));
        drop(_down);
        // Queries run meanwhile.
        thread::sleep(Duration::from_secs(2));
        ensure!(!waits.is_finished(), "the change does not wait for the disk");
        Ok(waits)
    }

    /// The agent has ended meanwhile: the change was not made and is not reported as made.
    pub fn disk_recovers(&mut self, waits: JoinHandle<Result<String>>) -> Result<()> {
        let outcome = waits.join().map_err(|_| anyhow!("the command line has panicked"))?;
        ensure!(outcome.is_err(), "a change that was not saved is reported as made: {outcome:?}");
        let holds = cli(&["policy", "show", "-o", "json"])?.contains("999/s");
        ensure!(!holds, "a change that was not saved is in effect");
        fs::remove_file(files::NEW_OVERRIDES).context(files::NEW_OVERRIDES)?;
        self.shared.disk_hangs.store(false, Ordering::Relaxed);
        Ok(())
    }
}
