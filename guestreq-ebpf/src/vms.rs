//! # Which VM a guest context is
//!
//! A command names its guest context. That leads to the VM's record, from the
//! context's creation to its end, whichever process or thread issues the command.
//! The process says something once: whose arguments tell the name of a VM that has
//! no record yet.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_ANY, BPF_NOEXIST},
};
use aya_log_ebpf::warn;
use guestreq_common::{
    command,
    event::{self, Event},
    host::Loss,
    sequence::Counters,
    vm::{Life, Vm, VmRef},
};

use crate::{atomic, kernel, maps};

/// The VM that a guest context is, if it has a record.
#[inline(always)]
pub fn find(context: u64) -> VmRef {
    // SAFETY: the value is copied at once; an entry that is replaced meanwhile gives the old or
    // the new record, and the generation tells a stale one.
    unsafe { maps::CONTEXTS.get(context) }.copied().unwrap_or(VmRef::NONE)
}

/// The VM that a process launched last.
#[inline(always)]
pub fn of_process(tgid: u32) -> VmRef {
    // SAFETY: as above.
    unsafe { maps::VM_OF_PROCESS.get(tgid) }.copied().unwrap_or(VmRef::NONE)
}

/// The VM that a guest context is, with a record that is made if it has none: in the name of the
/// process whose command shows that there is such a context. [`VmRef::NONE`] if there is no room.
#[inline(always)]
pub fn find_or_make<C: EbpfContext>(ctx: &C, context: u64, tgid: u32, counters: Counters) -> VmRef {
    // It could not be read; or it is no guest's.
    if context == 0 || maps::is_no_page(context) {
        return VmRef::NONE;
    }
    let found = find(context);
    if maps::vm(found).is_some() {
        return found;
    }
    let Some((slot, vm)) = maps::take_slot(tgid) else {
        maps::set_full_since(kernel::now());
        maps::count_loss(Loss::VmTableFull, 1);
        return VmRef::NONE;
    };
    let now = kernel::now();
    vm.begin(context, tgid, counters, now);
    let made = VmRef { slot, generation: vm.generation };
    if maps::CONTEXTS.insert(context, made, BPF_NOEXIST.into()).is_err() {
        // Another vCPU of the same guest was faster.
        vm.context = 0;
        maps::give_slot_back(slot, vm);
        let found = find(context);
        if maps::vm(found).is_none() {
            warn!(ctx, "no room for guest context {:x} of process {}", context, tgid);
            maps::count_loss(Loss::ContextTableFull, 1);
            // Should it be a record's that is gone, the next command finds room.
            let _ = maps::CONTEXTS.remove(context);
        }
        return found;
    }
    // What needs it does without where there is no room.
    let _ = maps::VM_OF_PROCESS.insert(tgid, made, BPF_ANY.into());
    if let Some(host) = maps::host() {
        atomic::add(&mut host.contexts, 1);
    }
    // Last: the agent reads the record once it sees life in it.
    vm.life = Life::Running as u32;
    maps::tell(Event {
        time: now,
        tgid,
        vm: slot,
        generation: made.generation,
        kind: event::Kind::NewVm as u8,
        ..Event::default()
    });
    made
}

/// The VM of a command that names a guest context and has the PSP now.
#[inline(always)]
pub fn of_command<C: EbpfContext>(ctx: &C, context: u64, command: u32, tgid: u32) -> VmRef {
    let found = find(context);
    let vm = maps::vm(found);
    let begins_anew = match command {
        command::SNP_GCTX_CREATE => true,
        command::SNP_LAUNCH_START => vm.as_ref().is_some_and(|vm| vm.is_launched_again()),
        _ => false,
    };
    if begins_anew && let Some(vm) = vm {
        // Its address is another's by now, and nobody saw its end.
        end(found, vm, context);
    }
    if !command::begins_vm(command) {
        return found;
    }
    // A guest that makes requests was launched unseen.
    let counters = if command == command::SNP_GUEST_REQUEST {
        Counters::found()
    } else {
        Counters::launched()
    };
    find_or_make(ctx, context, tgid, counters)
}

/// A guest context ends, and with it its VM.
#[inline(always)]
pub fn end(it: VmRef, vm: &mut Vm, context: u64) {
    if maps::CONTEXTS.remove(context).is_ok()
        && let Some(host) = maps::host()
    {
        atomic::decrement(&mut host.contexts);
    }
    forget_process(vm.tgid, it);
    if !vm.has_requests() {
        // A launch that failed, or was given up. Nothing is counted for it, and who launches in
        // vain without end takes no other VM's room.
        vm.clear();
        return maps::give_slot_back(it.slot, vm);
    }
    vm.end(kernel::now());
}

/// A process has launched no VM last, if it was this one.
#[inline(always)]
fn forget_process(tgid: u32, it: VmRef) {
    let last = of_process(tgid);
    if last.slot == it.slot && last.generation == it.generation {
        let _ = maps::VM_OF_PROCESS.remove(tgid);
    }
}
