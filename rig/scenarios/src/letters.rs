//! # What a scripted guest writes to its debug port
//!
//! A letter for each answer, which its VMM appends to a file: `.` for success, `B` for BUSY, `I` for
//! INVALID_PARAM, as a denial reads; rig/README.md has them all. With these scenarios know what a
//! guest has read, independently of what guestreq counts.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

use crate::host::wait_until;

/// The file with the letters of one vCPU.
pub struct Letters {
    path: String,
}

impl Letters {
    pub fn at(path: String) -> Letters {
        Letters { path }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// The answers so far.
    pub fn read(&self) -> Result<String> {
        fs::read_to_string(&self.path).with_context(|| self.path.clone())
    }

    /// How many answers were of this kind.
    pub fn count(&self, letter: char) -> Result<u64> {
        Ok(count(&self.read()?, letter))
    }

    /// Waits for letters. `still_runs` fails if no more can come.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        mut still_runs: impl FnMut() -> Result<()>,
        mut so: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        let mut letters = String::new();
        let waited = wait_until(what, limit, || {
            still_runs()?;
            letters = self.read()?;
            Ok(so(&letters))
        });
        waited.with_context(|| format!("letters {letters:?}"))?;
        Ok(letters)
    }

    /// What to wait for until so many more requests have been answered without an error.
    pub fn more_answers(&self, more: u64) -> Result<impl FnMut(&str) -> bool + use<>> {
        let wanted = self.count('.')? + more;
        Ok(move |letters: &str| count(letters, '.') >= wanted)
    }
}

fn count(letters: &str, letter: char) -> u64 {
    letters.matches(letter).count() as u64
}
