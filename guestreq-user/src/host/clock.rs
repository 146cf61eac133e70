//! # Conversions between clocks

/// When a process began, on the programs' clock (CLOCK_MONOTONIC), in ns; at most a tick early.
pub fn began_ns(ticks: u64) -> u64 {
    // SAFETY: no memory is passed.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    let since_boot = ticks.saturating_mul(1_000_000_000 / per_second.max(1));
    // Ticks include suspend, CLOCK_MONOTONIC does not.
    let slept = clock_ns(libc::CLOCK_BOOTTIME).saturating_sub(clock_ns(libc::CLOCK_MONOTONIC));
    since_boot.saturating_sub(slept)
}

/// Converts a time of the programs' clock (CLOCK_MONOTONIC) to seconds since 1970.
pub fn unix_seconds(monotonic_ns: u64) -> u64 {
    let ago = clock_ns(libc::CLOCK_MONOTONIC).saturating_sub(monotonic_ns);
    clock_ns(libc::CLOCK_REALTIME).saturating_sub(ago) / 1_000_000_000
}

/// Now, in ns.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call, which cannot fail for clocks that every Linux has.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
