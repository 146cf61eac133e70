use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

use guestreq_common::{
    gcra::{GcraLimit, MAX_INTERVAL_NS, MIN_INTERVAL_NS},
    launch::HISTORY,
    policy::{Allowed, Mode, Rules},
    request::Thread,
    share::PspShare,
};

use super::*;

/// Records that no program writes.
pub fn in_memory(vms: usize, threads: usize) -> Records {
    let sizes = [
        mem::size_of::<Host>(),
        vms * mem::size_of::<Vm>(),
        threads * mem::size_of::<Thread>(),
        HISTORY as usize * mem::size_of::<EndedLaunch>(),
    ];
    let maps = sizes.map(|bytes| {
        // SAFETY: the name is a string; the descriptor is new.
        let fd = unsafe { libc::memfd_create(c"records".as_ptr(), 0) };
        assert!(fd >= 0);
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        std::fs::File::from(fd.try_clone().unwrap()).set_len(bytes as u64).unwrap();
        fd
    });
    Records::over(maps.each_ref().map(OwnedFd::as_fd), [vms, threads]).unwrap()
}

#[test]
fn a_new_limit_starts_with_a_full_burst_and_an_unchanged_one_keeps_its_state() {
    let records = in_memory(1, 1);
    let rules = |generation| Rules::new(Mode::Enforce, Allowed::DEFAULT, generation);
    let limiter = records.vms.word(0, mem::offset_of!(Vm, limiter)).unwrap();
    let (slow, fast) = (GcraLimit::new(MAX_INTERVAL_NS, 1), GcraLimit::new(MIN_INTERVAL_NS, 1));
    let set = |generation, limit: Option<GcraLimit>| {
        records.set_policy(0, Policy::new(rules(generation), limit.unwrap(), PspShare::OFF));
    };
    set(1, slow);
    limiter.store(7, Ordering::Relaxed);
    set(1, slow);
    assert_eq!(limiter.load(Ordering::Relaxed), 7);
    set(1, fast);
    assert_eq!(limiter.load(Ordering::Relaxed), 0);
    let policy = records.vm(0).unwrap().policy;
    assert_eq!((policy.rate(), policy.rules()), (fast.unwrap(), rules(1)));
}

/// Its first requests precede its own policy.
#[test]
fn a_new_vm_that_keeps_the_default_s_limit_gets_no_second_burst() {
    let records = in_memory(2, 1);
    let limits = [MAX_INTERVAL_NS, MIN_INTERVAL_NS].map(|ns| GcraLimit::new(ns, 1).unwrap());
    let policy =
        |limit| Policy::new(Rules::new(Mode::Enforce, Allowed::DEFAULT, 1), limit, PspShare::OFF);
    records.set_default_policy(policy(limits[0]), false);
    let limiters = [0, 1].map(|slot| records.vms.word(slot, mem::offset_of!(Vm, limiter)).unwrap());
    for (slot, limit) in limits.into_iter().enumerate() {
        limiters[slot].store(7, Ordering::Relaxed);
        records.set_policy(slot, policy(limit));
        assert_eq!(records.vm(slot).unwrap().policy.rate(), limit);
    }
    assert_eq!(limiters.map(|limiter| limiter.load(Ordering::Relaxed)), [7, 0]);
}
