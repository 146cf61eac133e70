//! # Kernel memory per CPU
//!
//! A host may have hundreds of possible CPUs. We have no per-CPU maps; this bounds what the kernel
//! allocates per CPU for other maps.

use aya_obj::{
    Map, Object,
    generated::{BPF_F_NO_PREALLOC, bpf_map_type::*},
};

use super::built_in;

/// `struct htab_elem` before the key.
const ELEMENT: u64 = 48;
/// Most elements in a CPU's cache for hashes without preallocation, if elements are small
/// (`init_refill_work` in kernel/bpf/memalloc.c).
const CACHED: u64 = 96;
/// A hash's locks and list heads (kernel/bpf/hashtab.c), rounded up.
const HEADS: u64 = 256;

/// Most bytes that a map takes per possible CPU.
fn for_each_cpu(map: &Map) -> u64 {
    let words = |bytes: u32| u64::from(bytes).next_multiple_of(8);
    let element = ELEMENT + words(map.key_size()) + words(map.value_size());
    let kind = map.map_type();
    if kind == BPF_MAP_TYPE_HASH as u32 {
        let unused = if map.map_flags() & BPF_F_NO_PREALLOC != 0 { CACHED } else { 1 };
        return unused * element + HEADS;
    }
    let none =
        [BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_STACK];
    assert!(none.iter().any(|free| *free as u32 == kind), "is a map of type {kind} per CPU?");
    0
}

#[test]
#[cfg_attr(without_programs, ignore = "there are no eBPF programs: cargo xtask build")]
fn three_hundred_and_eighty_four_cpus_take_less_than_4_mib_more_than_two() {
    let object = Object::parse(built_in().expect("the programs")).expect("our own object");
    let each: u64 = object.maps.values().map(for_each_cpu).sum();
    assert!(each > 0, "there are hashes");
    for cpus in [2, 16, 64, 128, 384] {
        println!("{cpus:>3} CPUs: {:>5} KiB at most", cpus * each / 1024);
    }
    assert!((384 - 2) * each < 4 << 20, "{each} bytes for each CPU");
}
