//! # Maps, and what the agent tells us at load time

use aya_ebpf::{
    Global,
    bindings::{
        BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP,
    },
    macros::map,
    maps::{Array, HashMap, LruHashMap, ProgramArray, RingBuf, Stack},
};
use guestreq_common::{
    event::{self, Event},
    hook,
    host::{Host, Loss},
    request::Thread,
    vm::{Vm, VmRef},
};

use crate::{atomic, entry};

/// Where the direct map begins (`page_offset_base`).
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static PAGE_OFFSET: Global<u64> = Global::new(0);
/// The encryption bit in physical addresses (`sme_me_mask`).
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static ENCRYPTION_MASK: Global<u64> = Global::new(0);

/// The number of entries of THREADS, a power of two, less one.
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static THREAD_MASK: Global<u32> = Global::new(0);

/// Where `struct task_struct` has its `signal`, and that its `live`: how many threads of a process
/// have not exited. 0: not known.
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static SIGNAL_OF_TASK: Global<u32> = Global::new(0);
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static LIVE_OF_SIGNAL: Global<u32> = Global::new(0);

/// Where to find how many threads of a process have not exited, if that is known.
#[inline(always)]
pub fn signal_of_task() -> Option<(u64, u64)> {
    let offsets = (SIGNAL_OF_TASK.load(), LIVE_OF_SIGNAL.load());
    (offsets.0 != 0).then_some((offsets.0.into(), offsets.1.into()))
}

/// The kernel's number of the type `struct pt_regs`, whose first word is a number; 0: not known.
// SAFETY: no other symbol of the object has its name, by which the agent finds it.
#[unsafe(no_mangle)]
static REGISTERS_TYPE: Global<u32> = Global::new(0);

#[inline(always)]
pub fn registers_type() -> u32 {
    REGISTERS_TYPE.load()
}

/// The golden ratio in 32 bits: multiples of it lie far apart.
const SCATTER: u32 = 0x9e37_79b1;

/// One of the places where a thread's record may be. Numbers are given out one after the other,
/// so that threads that live together rarely want the same place.
#[inline(always)]
pub fn thread(tid: u32, way: u32) -> Option<&'static mut Thread> {
    // Two beside its number, and two elsewhere: others whose numbers are alike but for their high
    // bits, as those of another VM's vCPUs may be all together, stand elsewhere than it does.
    let number = if way < 2 { tid } else { tid.wrapping_mul(SCATTER) >> 8 };
    let place = (number & THREAD_MASK.load()) ^ (way & 1);
    // SAFETY: an array's element lives as long as the program; only the thread itself writes
    // a record that has its number, and a free one is taken atomically.
    THREADS.get_ptr_mut(place).map(|record| unsafe { &mut *record })
}

/// Whether it is the physical address that the kernel computes for no address at all (`__psp_pa` of
/// a VM's context that there is not): less than nothing, but for the encryption bit.
#[inline(always)]
pub fn is_no_page(physical: u64) -> bool {
    let mask = ENCRYPTION_MASK.load();
    physical & !mask == PAGE_OFFSET.load().wrapping_neg() & !mask
}

/// The address of a physical page in the direct map.
#[inline(always)]
pub fn direct_map(physical: u64) -> u64 {
    PAGE_OFFSET.load().wrapping_add(physical & !ENCRYPTION_MASK.load())
}

/// Host and VM records can be mapped by the agent: a scrape then needs no system
/// call on them. That is more than speed: bpf(2) on a map switches kprobe
/// programs off on its CPU while it runs (`bpf_disable_instrumentation`), so
/// reading that way could make us miss what we count.
#[map]
static HOST: Array<Host> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static VMS: Array<Vm> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
/// Slots of VMS that no VM has; filled by the agent.
#[map]
static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(1024, 0);
/// The VM that a process launched last, while that VM and that process last. What is not known by
/// a guest context is looked for here: a vCPU that begins to run under the vcpu backend, and a
/// request that failed before KVM had read it.
#[map]
pub static VM_OF_PROCESS: HashMap<u32, VmRef> = HashMap::with_max_entries(1024, 0);
/// Requests by thread. An array and not a hash: three hooks look a record up for each request,
/// and an array's look-up is two instructions instead of a call. The agent maps it, too.
#[map]
static THREADS: Array<Thread> = Array::with_max_entries(32768, BPF_F_MMAPABLE);
/// Guest contexts' VMs, by their physical address. An entry has a slot, so that there is room for
/// as many as there are slots.
#[map]
pub static CONTEXTS: HashMap<u64, VmRef> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);
/// Limiters' states of VMs that have no record, by guest context: more VMs than room.
#[map]
static LIMITERS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);
/// The programs that the hooks' entries jump to; written by the agent.
#[map]
pub static KPROBES: ProgramArray = ProgramArray::with_max_entries(hook::kprobe::PLACES, 0);
#[map]
pub static TRACEPOINTS: ProgramArray = ProgramArray::with_max_entries(hook::tracepoint::PLACES, 0);
#[map]
pub static IOCTLS: ProgramArray = ProgramArray::with_max_entries(hook::lsm::PLACES, 0);
#[map]
pub static IOCTLS_COMPAT: ProgramArray = ProgramArray::with_max_entries(hook::lsm::PLACES, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// The host's record.
#[inline(always)]
pub fn host() -> Option<&'static mut Host> {
    // Every hook's program comes by here.
    entry::mark(cfg!(feature = "other-programs"));
    // SAFETY: an array's element lives as long as the program. Other programs write it at the
    // same time: what they share is written atomically, the rest under sev_cmd_mutex.
    HOST.get_ptr_mut(0).map(|host| unsafe { &mut *host })
}

/// A VM's record, if the slot still belongs to that VM.
#[inline(always)]
pub fn vm(it: VmRef) -> Option<&'static mut Vm> {
    // SAFETY: as for the host's record.
    let vm = unsafe { &mut *VMS.get_ptr_mut(it.slot)? };
    (vm.generation == it.generation).then_some(vm)
}

/// A VM's record, whatever its generation: for whoever has just taken the slot.
#[inline(always)]
pub fn slot(slot: u32) -> Option<&'static mut Vm> {
    // SAFETY: as for the host's record.
    VMS.get_ptr_mut(slot).map(|vm| unsafe { &mut *vm })
}

/// The limiter's state of a guest context that has no record.
#[inline(always)]
pub fn limiter(context: u64) -> Option<&'static mut u64> {
    if LIMITERS.get_ptr(context).is_none() {
        let _ = LIMITERS.insert(context, 0, BPF_NOEXIST.into());
    }
    // SAFETY: an element of a map; its memory stays a u64 even if it is given to another key.
    LIMITERS.get_ptr_mut(context).map(|state| unsafe { &mut *state })
}

/// A slot for a VM that has none, taken by the process whose command shows it. One that is offered
/// twice is taken once.
#[inline(always)]
pub fn take_slot(tgid: u32) -> Option<(u32, &'static mut Vm)> {
    for _ in 0..2 {
        let number = FREE_SLOTS.pop().ok().flatten()?;
        let vm = slot(number)?;
        if atomic::take(&mut vm.taken_by, tgid) {
            // 0 is a slot that nobody had, and would match a policy that nobody wrote.
            vm.generation = vm.generation.max(1);
            set_full_since(0);
            return Some((number, vm));
        }
    }
    None
}

/// There is room for VMs again (0), or none since then.
#[inline(always)]
pub fn set_full_since(now: u64) {
    if let Some(host) = host()
        && (host.full_since == 0) != (now == 0)
    {
        host.full_since = now;
    }
}

#[inline(always)]
pub fn give_slot_back(slot: u32, vm: &mut Vm) {
    vm.taken_by = 0;
    // The slot has just come from there: there is room.
    let _ = FREE_SLOTS.push(slot, 0);
}

#[inline(always)]
pub fn count_loss(loss: Loss, n: u64) {
    if let Some(host) = host() {
        atomic::add(&mut host.totals.lost[loss as usize], n);
    }
}

#[inline(always)]
pub fn tell(event: Event) {
    // To wake the agent is an interrupt, and costs many times what the rest does.
    let wake = if event.kind == event::Kind::Request as u8 {
        // It looks by itself.
        BPF_RB_NO_WAKEUP
    } else if event.kind == event::Kind::NewVm as u8 {
        // Even if what it has not read yet was none to be woken by: its process may soon be gone.
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
