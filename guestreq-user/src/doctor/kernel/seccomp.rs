//! # Whether a seccomp profile stands in the way

use crate::{
    doctor::{Finding, Host},
    host::system::Missing,
    kernel,
};

/// Each call is tried, as no profile tells what is in it.
pub fn seccomp(host: &Host<'_>) -> Finding {
    match kernel::is_filtered(&host.system) {
        None => return Finding::skip("the kernel does not say: no Seccomp in /proc/self/status"),
        Some(false) => return Finding::pass("no profile"),
        Some(true) if !host.is_privileged() => return Finding::hidden("what the profile refuses"),
        Some(true) => {}
    }
    let bpf = kernel::bpf(&host.system, host.live.bpf());
    let answer = host.perf_event_open();
    // What else stands in its way another check tells.
    let by_profile = answer
        .as_ref()
        .is_err_and(|error| matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)));
    let perf = kernel::perf_events(&host.system, host.capabilities, answer);
    let refused: Vec<Missing> =
        [bpf.err(), perf.err().filter(|_| by_profile)].into_iter().flatten().collect();
    let [first, ..] = refused.as_slice() else {
        return Finding::pass("a profile, which lets bpf(2) and perf_event_open(2) through");
    };
    let what: Vec<_> = refused.iter().map(|missing| missing.what.as_str()).collect();
    Finding::fail(what.join("; "), first.fix.clone())
}
