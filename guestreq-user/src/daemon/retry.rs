//! # When to retry observing
//!
//! Each minute, and each second for a while after modules were loaded or unloaded, which is most
//! likely what was missing.

use std::time::{Duration, Instant};

use crate::bpf::programs::module_identity;

const RETRY: Duration = Duration::from_secs(60);
/// A module's folder appears before the module is initialized.
const SETTLE: Duration = Duration::from_secs(15);
const RETRY_SETTLING: Duration = Duration::from_secs(1);

/// The modules that SNP needs, by their identities.
pub type Modules = [Option<u64>; 3];

pub fn modules() -> Modules {
    ["kvm", "kvm_amd", "ccp"].map(module_identity)
}

pub struct RetryTimer {
    last_attempt: Instant,
    modules: Modules,
    changed: Option<Instant>,
}

impl RetryTimer {
    pub fn new() -> RetryTimer {
        RetryTimer { last_attempt: Instant::now(), modules: modules(), changed: None }
    }

    /// Whether to try now; if so, that counts as an attempt.
    pub fn is_due(&mut self, now: Instant, modules: Modules) -> bool {
        if modules != self.modules {
            self.modules = modules;
            self.changed = Some(now);
        }
        let settling = self.changed.is_some_and(|at| now.duration_since(at) < SETTLE);
        let interval = if settling { RETRY_SETTLING } else { RETRY };
        let over = now.duration_since(self.last_attempt) >= interval;
        if over {
            self.last_attempt = now;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_retries_each_minute_and_each_second_after_modules_changed() {
        let start = Instant::now();
        let none = [None; 3];
        let mut timer = RetryTimer { last_attempt: start, modules: none, changed: None };
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!timer.is_due(at(59), none));
        assert!(timer.is_due(at(60), none));
        let loaded = [Some(1), None, None];
        assert!(timer.is_due(at(70), loaded), "modules have changed");
        assert!(!timer.is_due(at(70), loaded));
        assert!(timer.is_due(at(71), loaded));
        assert!(timer.is_due(at(84), loaded));
        assert!(!timer.is_due(at(86), loaded), "settled");
        assert!(timer.is_due(at(144), loaded));
    }
}
