//! # The programs in the kernel

mod attach;
mod attached;
#[cfg(test)]
mod cpus;
mod kfunc_patch;
mod load;
mod pinned;
mod slots;
mod state;
mod unchanged;

use std::collections::BTreeMap;

use attached::{Attached, Failure};
use aya::Ebpf;
use unchanged::Source;

pub use attach::module_identity;
pub use load::{Wanted, built_in};
pub use pinned::detach_order;

use crate::bpf::{kernel_constants::KernelConstants, pins::Pins};

pub struct Programs {
    ebpf: Ebpf,
    pins: Option<Pins>,
    adopted: bool,
    /// What the programs are made from.
    source: Source,
    /// The ids of the programs in the program arrays, by name: this agent's, or an earlier one's that
    /// are the same.
    placed: BTreeMap<&'static str, u32>,
    /// Pins stay when the agent ends: an earlier agent made them, or this one has started.
    stays: bool,
    /// The pins were removed, which was reported.
    unpinned: bool,
    max_vms: u32,
    words: KernelConstants,
    attached: BTreeMap<&'static str, Attached>,
    without: Vec<String>,
    lsm: bool,
    /// Why probes are not attached.
    failures: BTreeMap<&'static str, Failure>,
    /// Hits missed by links that were since removed.
    missed_before: u64,
}

impl Programs {
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}
