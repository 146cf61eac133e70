//! # Faults on purpose
//!
//! An agent may be killed at any moment. The tests kill it at chosen ones, with
//! `agent --die-at POINT`, a hidden option: start, takeover and detach are to be
//! safe after each step, not by luck.

use std::sync::OnceLock;

static DIE_AT: OnceLock<String> = OnceLock::new();

/// Chooses the point at which this process dies.
pub fn die_at(point: &str) {
    let _ = DIE_AT.set(point.to_owned());
}

/// Dies here, as by SIGKILL, if this is the point.
pub fn point(name: &str) {
    if DIE_AT.get().is_some_and(|point| point == name) {
        // SAFETY: no memory is passed.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}
