//! # A disk that hangs
//!
//! While a change waits for it, agents end and begin.

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
    /// A change waits for the disk from now on.
    pub fn disk_hangs(&mut self) -> Result<JoinHandle<Result<String>>> {
        let _down = self.shared.up.write().unwrap_or_else(PoisonError::into_inner);
        self.shared.disk_hangs.store(true, Ordering::Relaxed);
        files::hang()?;
        self.hangs += 1;
        let set = ["limit", "set", "--vm", "web", "--rate", "999/s", "--burst", "999"];
        let waits = thread::spawn(move || cli(&set));
        drop(_down);
        // Questions are asked meanwhile.
        thread::sleep(Duration::from_secs(2));
        ensure!(!waits.is_finished(), "nobody waits for the disk");
        Ok(waits)
    }

    /// The agent of whom it was asked has ended meanwhile: it was not done, and is not said to be.
    pub fn disk_recovers(&mut self, waits: JoinHandle<Result<String>>) -> Result<()> {
        let said = waits.join().map_err(|_| anyhow!("the command line has panicked"))?;
        ensure!(said.is_err(), "what was not kept is said to hold: {said:?}");
        let holds = cli(&["policy", "show", "-o", "json"])?.contains("999/s");
        ensure!(!holds, "what was not kept holds");
        fs::remove_file(files::NEW_OVERRIDES).context(files::NEW_OVERRIDES)?;
        self.shared.disk_hangs.store(false, Ordering::Relaxed);
        Ok(())
    }
}
