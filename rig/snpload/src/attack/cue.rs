//! # The cue
//!
//! A file that a scenario creates to let VMs continue: between their first requests and the rest, or
//! in the middle of a launch.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::signals::stopping;

/// Given when the file exists; always, without a file.
#[derive(Clone)]
pub struct Cue(Option<PathBuf>);

impl Cue {
    pub fn new(file: Option<&PathBuf>) -> Self {
        Self(file.cloned())
    }

    /// Waits until it is given or the process is to stop.
    pub fn wait(&self) {
        while self.0.as_ref().is_some_and(|file| !file.exists()) && !stopping() {
            sleep(Duration::from_millis(10));
        }
    }

    /// The number in the file, 0 if it is empty; None without a file.
    pub fn number(&self) -> Option<usize> {
        let text = std::fs::read_to_string(self.0.as_ref()?).ok()?;
        Some(text.trim().parse().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cue_is_given_when_the_file_exists() {
        Cue::new(None).wait();
        let file = std::env::temp_dir().join(format!("snpload-cue-{}", std::process::id()));
        let made = file.clone();
        let thread = std::thread::spawn(move || {
            sleep(Duration::from_millis(20));
            std::fs::write(made, "").unwrap();
        });
        Cue::new(Some(&file)).wait();
        assert_eq!(Cue::new(Some(&file)).number(), Some(0));
        std::fs::write(&file, "3\n").unwrap();
        assert_eq!(Cue::new(Some(&file)).number(), Some(3));
        assert_eq!(Cue::new(None).number(), None);
        thread.join().unwrap();
        std::fs::remove_file(file).unwrap();
    }
}
