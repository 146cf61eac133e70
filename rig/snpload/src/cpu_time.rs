//! # CPU time

use std::mem::MaybeUninit;
use std::time::Duration;

/// CPU time of all threads of this process so far, user and system.
pub fn cpu_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage() fills in one rusage, for which zeros are valid too; it
    // can only fail for a wrong address or kind.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn work_takes_time_of_a_cpu() {
        let (before, due) = (cpu_time(), Instant::now() + Duration::from_secs(60));
        while cpu_time() < before + Duration::from_millis(20) {
            assert!(Instant::now() < due);
        }
    }
}
