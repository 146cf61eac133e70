//! # Keeping a vCPU out of its guest
//!
//! Backend vcpu: enforces decisions where no gate asks.

use aya_ebpf::helpers::bpf_send_signal_thread;
use guestreq_common::{
    policy,
    request::{Running, STOPPED, Thread, disallowed_row},
    units::MonotonicNs,
    vm::{Life, NO_KICK, VmRef},
};

use super::{Sender, own_or_default, report::report_bypass};
use crate::{atomic, kernel, maps, vms};

/// Longest single hold of a vCPU, so that its VMM does not take it for hung.
pub const STRETCH_NS: u64 = 500_000_000;

const EPERM: i32 = -1;
const EAGAIN: i32 = -11;

/// Keeps the current vCPU out of its guest once this request ends.
#[inline(always)]
pub fn hold(thread: Option<&mut Thread>, running: &Running) {
    let sender = Sender::of(running);
    let vm = maps::vm(sender.vm);
    let mut kick = vm.as_ref().map_or(0, |vm| if vm.kick == NO_KICK { 0 } else { vm.kick as u32 });
    let until = running.held_until;
    match thread {
        Some(thread) => thread.held_until = until,
        // Nothing would keep it out.
        None => kick = 0,
    }
    if let Some(vm) = vm {
        let denied = until == STOPPED || disallowed_row(until).is_some();
        atomic::add(if denied { &mut vm.stopped } else { &mut vm.held }, 1);
    }
    // SAFETY: no memory is passed. The signal is one that this VMM's vCPU threads handle; it
    // makes KVM_RUN return once this request is done.
    if kick == 0 || unsafe { bpf_send_signal_thread(kick) } != 0 {
        // It runs until it leaves its guest by itself.
        if let Some(host) = maps::host() {
            host.totals.bypassed += 1;
        }
        report_bypass(&sender, &running.message, running.started);
    }
}

/// Whether a process' vCPUs may start to run, or KVM_RUN's error: running vCPUs can be stopped only
/// once policy and signal are known. KVM_RUN names no guest context, so this uses the VM that the
/// process launched last.
#[inline(always)]
pub fn may_begin(tgid: u32) -> i32 {
    let Some(host) = maps::host() else { return 0 };
    let enforcement = &host.enforcement;
    if !enforcement.holds_vcpus() {
        return 0;
    }
    let Some(vm) = maps::vm(vms::launched_by(tgid)) else { return 0 };
    let (policy, own) = own_or_default(vm, enforcement);
    let enforces = policy.rules().mode().is_enforce();
    let waits = enforces || enforcement.waits != 0;
    let known = own && (vm.kick != 0 || !enforces);
    let (seen, alive) = (vm.first_seen, enforcement.heartbeat);
    if policy::is_unresolved(waits, known, seen, alive, kernel::now()) {
        atomic::add(&mut vm.refused_runs, 1);
        return EAGAIN;
    }
    0
}

/// Whether the current thread's vCPU may run now, or KVM_RUN's error.
#[inline(always)]
pub fn may_run(thread: &mut Thread) -> i32 {
    let Some(host) = maps::host() else { return 0 };
    let vm = maps::vm(thread.vm);
    if vm.as_ref().is_some_and(|vm| vm.life == Life::Exited as u32) {
        // A VMM that resets its VM runs another guest on the same thread.
        thread.held_until = MonotonicNs::NEVER;
        thread.vm = VmRef::NONE;
        return may_begin(thread.tgid);
    }
    let policy =
        vm.as_ref().map_or(host.enforcement.policy, |vm| own_or_default(vm, &host.enforcement).0);
    let enforces = host.enforcement.holds_vcpus() && policy.rules().mode().is_enforce();
    if !enforces {
        // A former policy held it.
        thread.held_until = MonotonicNs::NEVER;
        return 0;
    }
    let until = thread.held_until;
    let is_over = match disallowed_row(until) {
        Some(row) => policy.rules().allows(row),
        None => until != STOPPED && kernel::now() >= until,
    };
    if is_over {
        thread.held_until = MonotonicNs::NEVER;
        return 0;
    }
    if let Some(vm) = vm {
        atomic::add(&mut vm.refused_runs, 1);
    }
    if until == STOPPED { EPERM } else { EAGAIN }
}
