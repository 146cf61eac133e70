//! # Guest contexts and their VMs
//!
//! A command names its guest context. That leads to the VM's record from the context's creation to
//! its end, whichever process or thread issues the command. The process matters once: for a new
//! record, its arguments name the VM.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_ANY, BPF_NOEXIST},
};
use aya_log_ebpf::warn;
use guestreq_common::{
    command,
    event::{Event, EventKind},
    host::Loss,
    policy::Limiter,
    sequence::Counters,
    units::GuestContext,
    vm::{Life, Vm, VmRef},
};

use crate::{atomic, kernel, maps, verifier};

/// The VM of a guest context, if it has a record.
#[inline(always)]
pub fn find(context: GuestContext) -> VmRef {
    // SAFETY: the value is copied at once; an entry that is replaced meanwhile gives the old or
    // the new record, and the generation tells a stale one.
    unsafe { maps::CONTEXTS.get(context) }.copied().unwrap_or(VmRef::NONE)
}

/// The VM that a process launched last.
#[inline(always)]
pub fn launched_by(tgid: u32) -> VmRef {
    // SAFETY: as above.
    unsafe { maps::VM_OF_PROCESS.get(tgid) }.copied().unwrap_or(VmRef::NONE)
}

/// The VM of a guest context. Makes a record if there is none, named by the process whose command
/// proves that the context exists. [`VmRef::NONE`] if there is no room.
#[inline(always)]
pub fn find_or_make<C: EbpfContext>(
    ctx: &C,
    context: GuestContext,
    tgid: u32,
    counters: Counters,
) -> VmRef {
    // Unreadable, or no guest's.
    if context.is_none() || maps::is_no_page(context.address()) {
        return VmRef::NONE;
    }
    let found = find(context);
    if maps::vm(found).is_some() {
        return found;
    }
    let Some((slot, vm)) = maps::take_slot(tgid) else {
        maps::count_loss(Loss::VmTableFull, 1);
        return VmRef::NONE;
    };
    let now = kernel::now();
    // What waits keeps its place, and what is owed is still owed.
    let limiter = maps::limiter(context).map_or(Limiter::new(now), |limiter| *limiter);
    vm.begin(context, tgid, counters, limiter, now);
    let made = VmRef { slot, generation: vm.generation };
    if maps::CONTEXTS.insert(context, made, BPF_NOEXIST.into()).is_err() {
        // Another vCPU of the same guest was faster.
        vm.context = GuestContext::NONE;
        maps::give_slot_back(slot, vm);
        let found = find(context);
        if maps::vm(found).is_none() {
            warn!(ctx, "no room for guest context {:x} of process {}", context.0, tgid);
            maps::count_loss(Loss::ContextTableFull, 1);
            // If it is a stale record's, the next command finds room.
            let _ = maps::CONTEXTS.remove(context);
        }
        return found;
    }
    maps::forget_limiter(context);
    // Its users cope if there is no room.
    let _ = maps::VM_OF_PROCESS.insert(tgid, made, BPF_ANY.into());
    if let Some(host) = maps::host() {
        atomic::add(&mut host.contexts, 1);
    }
    // Last: from here on the agent reads the record.
    vm.set_life(Life::Running);
    let kind = EventKind::NewVm as u8;
    maps::report(Event { time: now, tgid, vm: made, kind, ..Event::default() });
    made
}

/// The VM of a command that names a guest context and has the PSP now.
#[inline(always)]
pub fn of_command<C: EbpfContext>(
    ctx: &C,
    context: GuestContext,
    command: u32,
    tgid: u32,
) -> VmRef {
    let found = find(context);
    let vm = maps::vm(found);
    let starts_over = match command {
        command::SNP_GCTX_CREATE => true,
        command::SNP_LAUNCH_START => vm.as_ref().is_some_and(|vm| vm.is_launched_again()),
        _ => false,
    };
    match vm {
        // Its address is reused; its end was missed.
        Some(vm) if starts_over => end(found, vm, context),
        // Not looked up again.
        Some(_) => return found,
        None => {}
    }
    if command == command::SNP_GCTX_CREATE || command == command::SNP_DECOMMISSION {
        // Of a VM that never had a slot.
        maps::forget_limiter(context);
    }
    let requests = command == command::SNP_GUEST_REQUEST;
    // A VM that had no slot at first gets one with a request, when no other of its requests uses its
    // limiter.
    if !command::begins_vm(command) || !requests && maps::limiter(context).is_some() {
        return found;
    }
    // The launch of a guest that already sends requests was missed.
    let counters = if requests { Counters::found() } else { Counters::launched() };
    let made = find_or_make(ctx, context, tgid, counters);
    if command == command::SNP_GCTX_CREATE && made.is_none() {
        // It is first seen now.
        maps::make_limiter(context, kernel::now());
    }
    made
}

/// A guest context ends, and with it its VM.
#[inline(always)]
pub fn end(it: VmRef, vm: &mut Vm, context: GuestContext) {
    if maps::CONTEXTS.remove(context).is_ok()
        && let Some(host) = maps::host()
    {
        atomic::decrement(&mut host.contexts);
    }
    forget_process(vm.tgid, it);
    let sends = vm.has_requests();
    if vm.launch.end(sends) {
        record_launch(it, vm);
    }
    if !sends {
        // A failed or aborted launch. It has no counts, and endless failed launches must not take
        // other VMs' slots.
        vm.clear();
        return maps::give_slot_back(it.slot, vm);
    }
    vm.end(kernel::now());
}

/// Counts a launch that has ended, keeps its record for the agent, and reports it.
#[inline(always)]
pub fn record_launch(it: VmRef, vm: &Vm) {
    let Some(host) = maps::host() else { return };
    let number = host.totals.launches.end(&vm.launch);
    if let Some(ended) = maps::ended_launch(number) {
        // The agent takes a record for complete if it has its number before and after reading it.
        verifier::store(&mut ended.number, 0);
        ended.launch = vm.launch;
        (ended.context, ended.vm, ended.tgid) = (vm.context, it, vm.tgid);
        verifier::store(&mut ended.number, number);
    }
    let (time, kind) = (vm.launch.latest, EventKind::Launched as u8);
    maps::report(Event { time, tgid: vm.tgid, vm: it, kind, ..Event::default() });
}

/// Removes a VM as the last that its process launched.
#[inline(always)]
fn forget_process(tgid: u32, it: VmRef) {
    if launched_by(tgid) == it {
        let _ = maps::VM_OF_PROCESS.remove(tgid);
    }
}
