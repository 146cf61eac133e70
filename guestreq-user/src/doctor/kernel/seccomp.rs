//! # Whether a seccomp profile refuses what the agent needs

use crate::{
    doctor::{Finding, Host},
    host::system::Missing,
    kernel,
};

/// Tries each call: profiles cannot be read.
pub fn seccomp(host: &Host<'_>) -> Finding {
    match kernel::is_filtered(&host.system) {
        None => return Finding::skip("not reported: no Seccomp in /proc/self/status"),
        Some(false) => return Finding::pass("no profile"),
        Some(true) if !host.is_privileged() => return Finding::hidden("what the profile refuses"),
        Some(true) => {}
    }
    let bpf = kernel::bpf(&host.system, host.live.bpf());
    let answer = host.perf_event_open();
    // Other causes are reported by other checks.
    let by_profile = answer
        .as_ref()
        .is_err_and(|error| matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)));
    let perf = kernel::perf_events(&host.system, host.capabilities, answer);
    let refused: Vec<Missing> =
        [bpf.err(), perf.err().filter(|_| by_profile)].into_iter().flatten().collect();
    let [first, ..] = refused.as_slice() else {
        return Finding::pass("a profile that allows bpf(2) and perf_event_open(2)");
    };
    let what: Vec<_> = refused.iter().map(|missing| missing.what.as_str()).collect();
    Finding::fail(what.join("; "), first.fix.clone())
}
