//! # Constants of the running kernel, passed to the programs
//!
//! Read once a boot: after a takeover they come from the pinned record. A program that is test-run
//! but never attached reads words of kernel memory; offsets come from BTF.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    EbpfLoader,
    maps::Array,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use log::warn;

use crate::{
    bpf::realtime::RealtimeGuard,
    host::system,
    kernel::{self, LIVE_OF_SIGNAL, SIGNAL_OF_TASK, Types},
};

#[derive(Clone, Copy, Debug)]
pub struct KernelConstants {
    /// Start of the direct map.
    pub page_offset: u64,
    pub encryption_mask: u64,
    /// Offsets of `task_struct.signal` and `signal_struct.live` in bytes; 0: not known.
    pub signal_of_task: u32,
    pub live_of_signal: u32,
}

impl KernelConstants {
    /// Both offsets in one word, as in the host's record.
    pub fn offsets(&self) -> u64 {
        u64::from(self.signal_of_task) | u64::from(self.live_of_signal) << 32
    }

    pub fn read(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Result<KernelConstants> {
        let symbols = kernel::Symbols::read()?;
        let mut ebpf = {
            let _realtime = RealtimeGuard::begin();
            loader.map_max_entries("VMS", 1).load(object).context("loading the eBPF maps")?
        };
        let program: &mut RawTracePoint =
            ebpf.program_mut("read_kernel").context("read_kernel")?.try_into()?;
        program.load().context("loading the program that reads kernel memory")?;
        let mut word = |name: &str| -> Result<u64> {
            let mut options = RawTracePointRunOptions::new();
            options.args[0] = symbols.address(name)?;
            let program: &RawTracePoint =
                ebpf.program("read_kernel").context("read_kernel")?.try_into()?;
            program.test_run(options).with_context(|| format!("reading {name}"))?;
            let _realtime = RealtimeGuard::begin();
            let map = ebpf.map_mut("WORD").context("no map WORD")?;
            let mut cell: Array<_, [u64; 2]> = Array::try_from(map)?;
            let [value, read] = cell.get(&0, 0)?;
            cell.set(0, [0, 0], 0)?;
            if read == 1 { Ok(value) } else { Err(anyhow!("{name} cannot be read")) }
        };
        let (signal_of_task, live_of_signal) = offsets().unwrap_or_else(|error| {
            warn!("cannot tell which thread of a process exits last: {error:#}");
            (0, 0)
        });
        Ok(KernelConstants {
            page_offset: word("page_offset_base")?,
            encryption_mask: word("sme_me_mask")?,
            signal_of_task,
            live_of_signal,
        })
    }
}

fn offsets() -> Result<(u32, u32)> {
    let types = Types::read(system::host())?;
    Ok((types.offset(SIGNAL_OF_TASK)?, types.offset(LIVE_OF_SIGNAL)?))
}
