//! # Words of kernel memory
//!
//! Read once a boot, by a program that is run and never attached: an agent that takes over finds
//! them in the pinned record.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    EbpfLoader,
    maps::Array,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};

use super::{kernel, undisturbed::Undisturbed};

#[derive(Clone, Copy, Debug)]
pub struct KernelWords {
    /// Where the direct map begins.
    pub page_offset: u64,
    pub encryption_mask: u64,
}

impl KernelWords {
    pub fn read(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Result<KernelWords> {
        let symbols = kernel::Symbols::read()?;
        let mut ebpf = {
            let _undisturbed = Undisturbed::begin();
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
            let _undisturbed = Undisturbed::begin();
            let map = ebpf.map_mut("WORD").context("no map WORD")?;
            let mut cell: Array<_, [u64; 2]> = Array::try_from(map)?;
            let [value, read] = cell.get(&0, 0)?;
            cell.set(0, [0, 0], 0)?;
            if read == 1 { Ok(value) } else { Err(anyhow!("{name} cannot be read")) }
        };
        Ok(KernelWords {
            page_offset: word("page_offset_base")?,
            encryption_mask: word("sme_me_mask")?,
        })
    }
}
