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

use std::collections::BTreeMap;

use attached::{Attached, Trouble};
use aya::Ebpf;

pub use attach::module_identity;
pub use load::{Wanted, built_in};
pub use pinned::detach_order;
pub use state::ProgramState;

use crate::bpf::{kernel_constants::KernelConstants, pins::Pins};

pub struct Programs {
    ebpf: Ebpf,
    pins: Option<Pins>,
    adopted: bool,
    /// What is pinned stays when we go: an earlier agent pinned it, or this one has started.
    stays: bool,
    /// It is gone, and that was told.
    unpinned: bool,
    max_vms: u32,
    /// What the programs were told of the kernel.
    words: KernelConstants,
    attached: BTreeMap<&'static str, Attached>,
    without: Vec<String>,
    lsm: bool,
    /// Why a probe is not attached.
    trouble: BTreeMap<&'static str, Trouble>,
    /// Hits that were missed by links that are gone.
    missed_before: u64,
}

impl Programs {
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}
