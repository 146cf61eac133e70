//! # Keeping a vCPU out of its guest
//!
//! Backend vcpu: enforces decisions where no gate asks.

use aya_ebpf::helpers::bpf_send_signal_thread;
use guestreq_common::{
    policy,
    request::{Running, STOPPED, Thread, disallowed_row},
    units::MonotonicNs,
    vm::{Life, NO_KICK, Vm, VmRef},
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
        // A vCPU that is not kicked may send more: a request over a limit does not end a hold for a
        // denied type, nor a hold a stop.
        Some(thread) => thread.held_until = thread.held_until.max(until),
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
    // A VM that had no slot may have got one.
    let known = if thread.vm.is_none() { vms::find(thread.context) } else { thread.vm };
    let vm = maps::vm(known);
    let is_ended = |vm: &&mut Vm| vm.life == Life::Exited as u32;
    if !thread.vm.is_none() && vm.as_ref().is_none_or(is_ended) {
        // A VMM that resets its VM runs another guest on the same thread, perhaps when the first
        // one's record is another VM's.
        thread.held_until = MonotonicNs::NEVER;
        thread.vm = VmRef::NONE;
        return may_begin(thread.tgid);
    }
    let enforcement = &host.enforcement;
    let (policy, own) =
        vm.as_ref().map_or((enforcement.policy, false), |vm| own_or_default(vm, enforcement));
    let until = thread.held_until;
    let is_timed = until != STOPPED && disallowed_row(until).is_none();
    // Its policy is not known yet, and may enforce.
    let waits = !own && enforcement.waits != 0 && is_timed;
    let enforces = policy.rules().mode().is_enforce() || waits;
    if !enforcement.holds_vcpus() || !enforces {
        // A former policy held it.
        thread.held_until = MonotonicNs::NEVER;
        return 0;
    }
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
