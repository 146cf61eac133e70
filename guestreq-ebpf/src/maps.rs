//! # Maps, and constants that the agent sets at load time

use aya_ebpf::{
    Global,
    bindings::{
        BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP,
    },
    macros::map,
    maps::{Array, HashMap, ProgramArray, RingBuf, Stack},
};
use guestreq_common::{
    event::{Event, EventKind},
    host::{Host, Loss},
    launch::{EndedLaunch, HISTORY},
    policy::Limiter,
    request::Thread,
    tail_calls,
    units::{GuestContext, MonotonicNs, PhysAddr},
    vm::{Vm, VmRef},
};

use crate::{atomic, entry};

/// The start of the direct map (`page_offset_base`).
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static PAGE_OFFSET: Global<u64> = Global::new(0);
/// The encryption bit in physical addresses (`sme_me_mask`).
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static ENCRYPTION_MASK: Global<u64> = Global::new(0);

/// The size of THREADS, a power of two, minus one.
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static THREAD_MASK: Global<u32> = Global::new(0);

/// Offsets of `task_struct.signal` and `signal_struct.live`, the number of a process' threads that
/// have not exited; 0: unknown.
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static SIGNAL_OF_TASK: Global<u32> = Global::new(0);
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static LIVE_OF_SIGNAL: Global<u32> = Global::new(0);

/// The two offsets above, if known.
#[inline(always)]
pub fn signal_of_task() -> Option<(u64, u64)> {
    let offsets = (SIGNAL_OF_TASK.load(), LIVE_OF_SIGNAL.load());
    (offsets.0 != 0).then_some((offsets.0.into(), offsets.1.into()))
}

/// The BTF id of `struct pt_regs`, whose first word is a number; 0: unknown.
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static REGISTERS_TYPE: Global<u32> = Global::new(0);

#[inline(always)]
pub fn registers_type() -> u32 {
    REGISTERS_TYPE.load()
}

/// The golden ratio in 32 bits: multiples of it lie far apart.
const SCATTER: u32 = 0x9e37_79b1;

/// A thread's record in one way of its set. Tids are assigned in sequence, so that contemporary
/// threads rarely collide.
#[inline(always)]
pub fn thread(tid: u32, way: u32) -> Option<&'static mut Thread> {
    // Two next to the tid and two elsewhere: tids that share their low bits, perhaps those of all
    // vCPUs of another VM, differ in the latter.
    let number = if way < 2 { tid } else { tid.wrapping_mul(SCATTER) >> 8 };
    let index = (number & THREAD_MASK.load()) ^ (way & 1);
    // SAFETY: an array's element lives as long as the program; only the thread itself writes
    // a record that has its number, and a free one is taken atomically.
    THREADS.get_ptr_mut(index).map(|record| unsafe { &mut *record })
}

/// Whether it is the kernel's physical address for NULL (`__psp_pa` of a missing guest context):
/// minus `page_offset_base`, apart from the encryption bit.
#[inline(always)]
pub fn is_no_page(physical: PhysAddr) -> bool {
    let mask = ENCRYPTION_MASK.load();
    physical.0 & !mask == PAGE_OFFSET.load().wrapping_neg() & !mask
}

/// A physical address in the direct map.
#[inline(always)]
pub fn direct_map(physical: PhysAddr) -> u64 {
    PAGE_OFFSET.load().wrapping_add(physical.0 & !ENCRYPTION_MASK.load())
}

/// The agent maps the host's and VMs' records, so that scrapes need no system call. This is not only
/// faster: bpf(2) on a map disables kprobe programs on its CPU while it runs
/// (`bpf_disable_instrumentation`), so that reads could make us miss what we count.
#[map]
static HOST: Array<Host> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static VMS: Array<Vm> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
/// Free slots of VMS; filled by the agent.
#[map]
static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(1024, 0);
/// The VM that a process launched last, while both exist. Used where the guest context is unknown: a
/// vCPU that starts under the vcpu backend, a request that failed before KVM read it, and commands of
/// [`guestreq_common::command::is_of_process`].
#[map]
pub static VM_OF_PROCESS: HashMap<u32, VmRef> = HashMap::with_max_entries(1024, 0);
/// Requests by thread. An array, not a hash: three hooks look a record up per request, and an array
/// lookup is two instructions instead of a call. The agent maps it, too.
#[map]
static THREADS: Array<Thread> = Array::with_max_entries(32768, BPF_F_MMAPABLE);
/// VMs by guest context. Each entry has a slot in VMS, so both have the same size.
#[map]
pub static CONTEXTS: HashMap<GuestContext, VmRef> =
    HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);
/// Limiters' states of VMs without a slot, by guest context; until the VM ends or gets a slot. Not an
/// LRU map, which evicts long before it is full, and gives an element away while a program writes it.
/// Preallocated: caches of elements that large would take megabytes where there are many CPUs.
#[map]
static LIMITERS: HashMap<GuestContext, Limiter> = HashMap::with_max_entries(1024, 0);
/// The launches that ended last, each in the place of its number.
#[map]
static LAUNCHES: Array<EndedLaunch> = Array::with_max_entries(HISTORY, BPF_F_MMAPABLE);
/// The programs that entries tail-call; written by the agent.
#[map]
pub static KPROBES: ProgramArray = ProgramArray::with_max_entries(tail_calls::kprobe::SLOTS, 0);
#[map]
pub static TRACEPOINTS: ProgramArray =
    ProgramArray::with_max_entries(tail_calls::tracepoint::SLOTS, 0);
#[map]
pub static IOCTLS: ProgramArray = ProgramArray::with_max_entries(tail_calls::lsm::SLOTS, 0);
#[map]
pub static IOCTLS_COMPAT: ProgramArray = ProgramArray::with_max_entries(tail_calls::lsm::SLOTS, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// The host's record.
#[inline(always)]
pub fn host() -> Option<&'static mut Host> {
    // Every hook's program calls this.
    entry::mark(cfg!(feature = "other-programs"));
    // SAFETY: an array's element lives as long as the program. Other programs write it at the
    // same time: what they share is written atomically, the rest under sev_cmd_mutex.
    HOST.get_ptr_mut(0).map(|host| unsafe { &mut *host })
}

/// A VM's record, if the slot still has its generation.
#[inline(always)]
pub fn vm(it: VmRef) -> Option<&'static mut Vm> {
    // SAFETY: as for the host's record.
    let vm = unsafe { &mut *VMS.get_ptr_mut(it.slot)? };
    (vm.generation == it.generation).then_some(vm)
}

/// A slot's record, whatever its generation: for the caller that just took the slot.
#[inline(always)]
pub fn slot(slot: u32) -> Option<&'static mut Vm> {
    // SAFETY: as for the host's record.
    VMS.get_ptr_mut(slot).map(|vm| unsafe { &mut *vm })
}

/// The limiter's state of a guest context without a record, if any.
#[inline(always)]
pub fn limiter(context: GuestContext) -> Option<&'static mut Limiter> {
    // SAFETY: an element of a map. Only the VM's own requests write it, one at a time, and move it to
    // a record; if the VM ends meanwhile, its memory stays a Limiter's, perhaps another's.
    LIMITERS.get_ptr_mut(context).map(|state| unsafe { &mut *state })
}

/// Makes one if there is none, and room.
#[inline(always)]
pub fn make_limiter(context: GuestContext, now: MonotonicNs) {
    if limiter(context).is_some() {
        return;
    }
    if LIMITERS.insert(context, Limiter::new(now), BPF_NOEXIST.into()).is_err() {
        count_loss(Loss::ContextTableFull, 1);
    }
}

/// The guest context ends, or has a record from now on.
#[inline(always)]
pub fn forget_limiter(context: GuestContext) {
    let _ = LIMITERS.remove(context);
}

/// Takes a slot for a new VM, for the process whose command showed it. A slot offered twice is taken
/// once.
#[inline(always)]
pub fn take_slot(tgid: u32) -> Option<(u32, &'static mut Vm)> {
    for _ in 0..2 {
        let number = FREE_SLOTS.pop().ok().flatten()?;
        let vm = slot(number)?;
        if atomic::take(&mut vm.taken_by, tgid) {
            // 0 is an unused slot's, and would match a policy that was never written.
            vm.generation = vm.generation.max(1);
            return Some((number, vm));
        }
    }
    None
}

#[inline(always)]
pub fn give_slot_back(slot: u32, vm: &mut Vm) {
    vm.taken_by = 0;
    // Every slot came from this stack, so there is room.
    let _ = FREE_SLOTS.push(slot, 0);
}

/// Where the launch with a number among those that have ended is kept.
#[inline(always)]
pub fn ended_launch(number: u64) -> Option<&'static mut EndedLaunch> {
    // SAFETY: as for the host's record; written under sev_cmd_mutex.
    LAUNCHES.get_ptr_mut(EndedLaunch::index(number)).map(|ended| unsafe { &mut *ended })
}

#[inline(always)]
pub fn count_loss(loss: Loss, n: u64) {
    if let Some(host) = host() {
        atomic::add(&mut host.totals.lost[loss as usize], n);
    }
}

#[inline(always)]
pub fn report(event: Event) {
    // Waking the agent takes an interrupt, many times the cost of the rest.
    let wake = if event.kind == EventKind::Request as u8 {
        // It polls.
        BPF_RB_NO_WAKEUP
    } else if event.kind == EventKind::NewVm as u8 || event.kind == EventKind::Launched as u8 {
        // Even behind unread events without a wakeup: the process may exit soon.
        BPF_RB_FORCE_WAKEUP
    } else {
        0
    };
    match EVENTS.reserve::<Event>(0) {
        Some(mut entry) => {
            entry.write(event);
            entry.submit(u64::from(wake));
        }
        None => count_loss(Loss::RingBufferFull, 1),
    }
}
