//! # The end of processes that scenarios start
//!
//! One that cannot be killed hangs in the kernel, which scenarios are to find. So none that is
//! signalled is awaited without a limit, and one that does not end is named with what it is doing.

use std::{
    process::{Child, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{host::wait_until, hung};

/// How long one that is killed may take to end.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until it has ended by itself, or by a signal that was sent.
pub fn wait(child: &mut Child, what: &str, limit: Duration) -> Result<ExitStatus> {
    let mut status = None;
    let ended = wait_until(&format!("{what} has ended"), limit, || {
        status = child.try_wait().with_context(|| what.to_owned())?;
        Ok(status.is_some())
    });
    ended.with_context(|| hung::doing(&[child.id()]))?;
    status.with_context(|| format!("{what}: no exit status"))
}

/// The same after a signal that asks it to end, where nothing can return an error; then kills it.
pub fn end(child: &mut Child, what: &str) {
    if let Err(error) = wait(child, what, KILL_TIMEOUT) {
        println!("{error:#}");
        kill(child, what);
    }
}

/// Kills it, where nothing can return an error.
pub fn kill(child: &mut Child, what: &str) {
    let _ = child.kill();
    if let Err(error) = wait(child, what, KILL_TIMEOUT) {
        println!("{error:#}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_does_not_end_is_named_with_what_it_is_doing() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let error = wait(&mut child, "the sleeper", Duration::from_millis(200)).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("sleep[") && error.contains("until the sleeper has ended"),
            "{error}"
        );
        kill(&mut child, "the sleeper");
        let status = wait(&mut child, "the sleeper", Duration::ZERO).expect("it was killed");
        assert!(!status.success());
    }
}
